//! Who belongs to whom: what a tenant writes changes nothing of another namespace, and silences nothing of its own.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{FINALIZER, label, label_value};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::environment::{ENDLESS, Environment, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::{WORKER_IMAGE, Worker};
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{metrics, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

fn jobs(client: &Client, namespace: &str) -> Api<Job> {
    Api::namespaced(client.clone(), namespace)
}

async fn merge(client: &Client, namespace: &str, name: &str, patch: Value) -> kube::Result<Job> {
    jobs(client, namespace).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
}

fn is_held(job: &Job) -> bool {
    job.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

fn is_labelled(job: &Job) -> bool {
    job.labels().get(label::ENROLLED).is_some_and(|value| value == label_value::TRUE)
}

async fn foreign_pods(environment: &Environment) -> anyhow::Result<f64> {
    let leader = metrics::leader(&environment.client).await?;
    let text = metrics::read(&environment.client, &leader.name_any()).await?;
    Ok(metrics::sum(&text, "jobwarden_foreign_pods_total", ""))
}

/// Runs a Job whose outcome has to arrive: whatever was done before it has been judged by then.
async fn run_bystander(environment: &Environment, namespace: &str) -> anyhow::Result<()> {
    environment.submit(namespace, &Worker::new("bystander", 4, Duration::from_secs(1)).on_node(HOME)).await?;
    environment.receiver.wait_for(namespace, "bystander", SOON, |event| event.data.kind.is_final()).await?;
    Ok(())
}

pub(crate) async fn a_forged_owner_reference_adds_no_pod_to_the_job_of_another_namespace(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let victim = environment.enrolled_namespace("victim").await?;
    let bystander = environment.enrolled_namespace("bystander").await?;
    let enrolled = [(label::INJECT, label_value::ENABLED)];
    let attacker = environment.cluster.temp_namespace("attacker", &enrolled).await?;
    let job = environment.submit(victim.name(), &Worker::new("work", 4, ENDLESS).on_node(HOME)).await?;
    let worker = wait::until_running(&environment.client, victim.name(), "work", &[], SOON).await?;
    let before = foreign_pods(environment).await?;
    let uid = job.uid().context("the Job has no UID")?;
    let forged: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": "evil",
            "labels": {label::ENROLLED: "true", label::CONTROLLER_UID: uid, label::JOB_NAME: "work"},
            // It outlives the garbage collector, which finds no such owner in this namespace.
            "finalizers": ["example.com/hold"],
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "work", "uid": uid, "controller": true}]
        },
        "spec": {
            "nodeName": "no-such-node",
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": WORKER_IMAGE, "imagePullPolicy": "IfNotPresent", "args": ["--for=9s"]}]
        }
    }))?;
    let pods = Api::<Pod>::namespaced(environment.client.clone(), attacker.name());
    pods.create(&PostParams::default(), &forged).await.context("creating the forged pod")?;
    // A pod of the victim on that node would be lost after 25 s (row P2).
    let given = tokio::time::Instant::now() + Duration::from_secs(30);
    while foreign_pods(environment).await? <= before || tokio::time::Instant::now() < given {
        ensure!(tokio::time::Instant::now() < given + SOON, "the forged pod was not counted");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    run_bystander(environment, bystander.name()).await?;
    let told = environment.receiver.about(victim.name(), "work");
    environment.finish(victim.name(), &worker).await?;
    let last = environment.receiver.wait_for(victim.name(), "work", SOON, |event| event.data.kind.is_final()).await;
    let release = json!({"metadata": {"finalizers": null}});
    let released = pods.patch("evil", &PatchParams::default(), &Patch::Merge(release)).await;
    released.context("removing the attacker's finalizer")?;
    ensure!(told.is_empty(), "the victim's orchestrator was told about the forged pod: {told:#?}");
    let data = last?.event.data;
    ensure!(data.kind == OutcomeKind::Succeeded, "{data:#?}");
    Ok(())
}

pub(crate) async fn a_label_written_by_hand_silences_no_job(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("quiet").await?;
    let other = environment.enrolled_namespace("bystander").await?;
    let client = &environment.client;
    let quiet = Worker::new("quiet", 4, Duration::from_secs(1)).label(label::ENROLLED, "false").on_node(HOME);
    let created = environment.submit(namespace.name(), &quiet).await?;
    ensure!(is_labelled(&created), "admission left the label as it was: {:?}", created.labels());
    environment.receiver.wait_for(namespace.name(), "quiet", SOON, |event| event.data.kind.is_final()).await?;

    // After admission, by an administrator: nobody else may.
    environment.submit(namespace.name(), &Worker::new("later", 4, ENDLESS).on_node(HOME)).await?;
    let pod = wait::until_running(client, namespace.name(), "later", &[], SOON).await?;
    for value in [json!("false"), json!(null)] {
        let patch = json!({"metadata": {"labels": {label::ENROLLED: value}}});
        merge(client, namespace.name(), "later", patch).await.context("changing the label")?;
        let labelled = |job: Option<&Job>| job.is_some_and(is_labelled);
        wait::until::<Job>(client, namespace.name(), "later", SOON, "labelled again", labelled).await?;
    }
    run_bystander(environment, other.name()).await?;
    environment.finish(namespace.name(), &pod).await?;
    let last = environment.receiver.wait_for(namespace.name(), "later", SOON, |event| event.data.kind.is_final());
    let data = last.await?.event.data;
    ensure!(data.kind == OutcomeKind::Succeeded, "{data:#?}");
    wait::until_gone::<Job>(client, namespace.name(), "later", SOON).await
}

pub(crate) async fn a_namespace_that_leaves_keeps_no_finalizer(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let leaving = environment.enrolled_namespace("leaving").await?;
    let staying = environment.enrolled_namespace("staying").await?;
    let client = &environment.client;
    for namespace in [leaving.name(), staying.name()] {
        let job = environment.submit(namespace, &Worker::new("work", 4, ENDLESS).on_node(HOME)).await?;
        ensure!(is_held(&job), "admission added no finalizer");
    }
    let pod = wait::until_running(client, leaving.name(), "work", &[], SOON).await?;
    let left = json!({"metadata": {"labels": {label::INJECT: null}}});
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces.patch(leaving.name(), &PatchParams::default(), &Patch::Merge(left)).await?;
    let released = |job: Option<&Job>| job.is_some_and(|job| !is_held(job));
    wait::until::<Job>(client, leaving.name(), "work", SOON, "released", released).await?;
    let kept = jobs(client, staying.name()).get("work").await?;
    ensure!(is_held(&kept), "a Job of another namespace lost its finalizer");
    // It goes on, and nobody is told how it ends.
    environment.finish(leaving.name(), &pod).await?;
    wait::until_job(client, leaving.name(), "work", "Complete", SOON).await?;
    run_bystander(environment, staying.name()).await?;
    let told = environment.receiver.about(leaving.name(), "work");
    ensure!(told.is_empty(), "the orchestrator was told of a namespace that is not enrolled: {told:#?}");
    Ok(())
}

pub(crate) async fn words_written_in_a_namespace_that_is_not_enrolled_have_no_effect(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let outside = environment.cluster.temp_namespace("outside", &[]).await?;
    let bystander = environment.enrolled_namespace("bystander").await?;
    let client = &environment.client;
    for (name, value) in [("forged", "true"), ("unlabelled", "false")] {
        let mut job = Worker::new(name, 4, Duration::from_secs(1))
            .label(label::ENROLLED, value)
            .annotation("jobwarden.io/run-id", "42")
            .annotation("jobwarden.io/job-id", "7")
            .on_node(HOME)
            .job();
        job.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        jobs(client, outside.name()).create(&PostParams::default(), &job).await.context("creating the Job")?;
        let released = |job: Option<&Job>| job.is_some_and(|job| !is_held(job));
        wait::until::<Job>(client, outside.name(), name, SOON, "released", released).await?;
        wait::until_job(client, outside.name(), name, "Complete", SOON).await?;
    }
    run_bystander(environment, bystander.name()).await?;
    for name in ["forged", "unlabelled"] {
        let told = environment.receiver.about(outside.name(), name);
        ensure!(told.is_empty(), "the orchestrator was told of {name}: {told:#?}");
        let job = jobs(client, outside.name()).get(name).await;
        job.with_context(|| format!("{name} was deleted after the retention of another namespace's Jobs"))?;
    }
    Ok(())
}

pub(crate) async fn a_tenant_changes_everything_of_its_jobs_but_our_words(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("tenant").await?;
    let name = namespace.name();
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "tenant"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "tenant"}]
    }))?;
    Api::<RoleBinding>::namespaced(environment.client.clone(), name).create(&PostParams::default(), &binding).await?;
    let mut config = environment.cluster.client_config();
    config.auth_info.impersonate = Some("tenant".to_owned());
    let tenant = Client::try_from(config)?;

    environment.submit(name, &Worker::new("work", 4, ENDLESS).on_node(HOME)).await?;
    let pod = wait::until_running(&environment.client, name, "work", &[], SOON).await?;
    // The API server gives a Job without labels those of its template: without another one, removing ours would change nothing.
    merge(&environment.client, name, "work", json!({"metadata": {"labels": {"team": "b"}}})).await?;
    let of_all = [
        ("the label", json!({"labels": {label::ENROLLED: "false"}})),
        ("no label", json!({"labels": {label::ENROLLED: null}})),
        ("an ID", json!({"annotations": {"jobwarden.io/job-id": "7"}})),
        ("an ID as a label", json!({"labels": {"jobwarden.io/run-id": "8"}})),
    ];
    let of_jobs = [("no finalizer", json!({"finalizers": null}))];
    let pods = Api::<Pod>::namespaced(tenant.clone(), name);
    for (what, metadata) in of_all.iter().chain(&of_jobs) {
        let patch = json!({"metadata": metadata});
        let refused = merge(&tenant, name, "work", patch.clone()).await;
        ensure!(is_forbidden(&refused), "a tenant wrote {what} to a Job: {refused:?}");
        let merge = Patch::Merge(&patch);
        let refused = jobs(&tenant, name).patch_status("work", &PatchParams::default(), &merge).await;
        ensure!(is_forbidden(&refused), "a tenant wrote {what} to the status of a Job: {refused:?}");
    }
    for (what, metadata) in &of_all {
        let patch = json!({"metadata": metadata});
        let refused = pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        ensure!(is_forbidden(&refused), "a tenant wrote {what} to a pod: {refused:?}");
    }
    let ordinary = json!({
        "metadata": {
            "labels": {"team": "a"},
            "annotations": {"jobwarden.io/lost-after": "90s"},
            "finalizers": [FINALIZER, "example.com/mine"]
        },
        "spec": {"backoffLimit": 3}
    });
    merge(&tenant, name, "work", ordinary).await.context("an ordinary change of a Job was refused")?;
    let ordinary = json!({"metadata": {"labels": {"team": "a"}}});
    let patched = pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(ordinary)).await;
    patched.context("an ordinary change of a pod was refused")?;
    merge(&tenant, name, "work", json!({"metadata": {"finalizers": [FINALIZER]}}))
        .await
        .context("removing its own finalizer")?;
    jobs(&tenant, name).delete("work", &DeleteParams::background()).await.context("a tenant may delete its Job")?;
    wait::until_gone::<Job>(&environment.client, name, "work", SOON).await
}

fn is_forbidden<T>(answer: &kube::Result<T>) -> bool {
    matches!(answer, Err(kube::Error::Api(status)) if status.code == 403)
}
