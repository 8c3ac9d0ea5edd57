//! What whoever steals a token of jobwarden's can do with it: what docs/rbac.md says, and no more.

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{FINALIZER, label, object};
use jobwarden_tests::environment::{ENDLESS, Environment, SOON};
use jobwarden_tests::install::{HOME, NAMESPACE};
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

/// What the API server's message names if a policy refuses a request.
const POLICY: &str = "ValidatingAdmissionPolicy";

/// A client with the rights of a service account.
fn stolen(environment: &Environment, namespace: &str, account: &str) -> anyhow::Result<Client> {
    let mut config = environment.cluster.client_config();
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{namespace}:{account}"));
    let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}"), "system:authenticated"];
    config.auth_info.impersonate_groups = Some(groups.map(str::to_owned).to_vec());
    Ok(Client::try_from(config)?)
}

/// By RBAC.
fn is_forbidden<T>(answer: &kube::Result<T>) -> bool {
    matches!(answer, Err(kube::Error::Api(status)) if status.code == 403 && !status.message.contains(POLICY))
}

/// By one of our own policies, although RBAC allows it.
fn is_held<T>(answer: &kube::Result<T>) -> bool {
    matches!(answer, Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains(POLICY))
}

fn merge(patch: &Value) -> Patch<&Value> {
    Patch::Merge(patch)
}

/// A patch that replaces the webhooks of a configuration by those of `changed`.
fn webhooks(changed: &Value) -> Patch<Value> {
    Patch::Merge(json!({"webhooks": changed["webhooks"]}))
}

pub(crate) async fn the_reapers_token_changes_neither_what_runs_nor_what_is_not_enrolled(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let enrolled = environment.enrolled_namespace("enrolled").await?;
    let outside = environment.cluster.temp_namespace("outside", &[]).await?;
    let reaper = stolen(environment, NAMESPACE, "jobwarden-reaper")?;
    let parameters = PatchParams::default();
    for namespace in [enrolled.name(), outside.name()] {
        environment.submit(namespace, &Worker::new("work", 4, ENDLESS).on_node(HOME)).await?;
    }
    let pod = wait::until_running(&environment.client, enrolled.name(), "work", &[], SOON).await?.name_any();
    let other = wait::until_running(&environment.client, outside.name(), "work", &[], SOON).await?.name_any();

    let jobs = Api::<Job>::namespaced(reaper.clone(), enrolled.name());
    let pods = Api::<Pod>::namespaced(reaper.clone(), enrolled.name());
    let owner =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "7a0c1a8e-1111-4bbb-8bbb-222222222222"}]);
    for (what, patch) in [
        ("suspends it", json!({"spec": {"suspend": true}})),
        ("runs more of it", json!({"spec": {"parallelism": 2}})),
        ("gives it a deadline", json!({"spec": {"activeDeadlineSeconds": 1}})),
        ("gives it another owner", json!({"metadata": {"ownerReferences": owner}})),
    ] {
        let refused = jobs.patch("work", &parameters, &merge(&patch)).await;
        ensure!(is_held(&refused), "the reaper's token {what}: {refused:?}");
    }
    for (what, patch) in [
        ("changes its image", json!({"spec": {"containers": [{"name": "worker", "image": "evil"}]}})),
        ("gives it another owner", json!({"metadata": {"ownerReferences": owner}})),
    ] {
        let refused = pods.patch(&pod, &parameters, &Patch::Strategic(&patch)).await;
        ensure!(is_held(&refused), "the reaper's token {what}: {refused:?}");
    }
    // Its work.
    let labels = json!({"metadata": {"labels": {"jobwarden.io/tried": "true"}}});
    jobs.patch("work", &parameters, &merge(&labels)).await.context("labelling a Job")?;
    pods.patch(&pod, &parameters, &merge(&labels)).await.context("labelling a pod")?;
    let status = json!({"status": {"conditions": []}});
    jobs.patch_status("work", &parameters, &Patch::Strategic(&status)).await.context("the status of a Job")?;

    let jobs = Api::<Job>::namespaced(reaper.clone(), outside.name());
    let pods = Api::<Pod>::namespaced(reaper.clone(), outside.name());
    let held = json!({"metadata": {"finalizers": [FINALIZER]}});
    Api::<Job>::namespaced(environment.client.clone(), outside.name())
        .patch("work", &parameters, &merge(&held))
        .await
        .context("adding the finalizer")?;
    for (what, refused) in [
        ("labels a Job", jobs.patch("work", &parameters, &merge(&labels)).await.map(drop)),
        ("fails a Job", jobs.patch_status("work", &parameters, &Patch::Strategic(&status)).await.map(drop)),
        ("deletes a Job", jobs.delete("work", &DeleteParams::default()).await.map(drop)),
        ("labels a pod", pods.patch(&other, &parameters, &merge(&labels)).await.map(drop)),
        ("deletes a pod", pods.delete(&other, &DeleteParams::default()).await.map(drop)),
    ] {
        ensure!(is_held(&refused), "the reaper's token {what} of a namespace that is not enrolled: {refused:?}");
    }
    // It takes its finalizer back there, which the reaper itself may have done before.
    let released = json!({"metadata": {"finalizers": null}});
    jobs.patch("work", &parameters, &merge(&released)).await.context("releasing a Job that is not enrolled")?;

    let secrets = Api::<Secret>::namespaced(reaper.clone(), NAMESPACE);
    ensure!(is_forbidden(&secrets.get(object::CA_SECRET).await), "the reaper's token reads the authority");
    let own = Api::<Pod>::namespaced(reaper, NAMESPACE);
    let webhook = Api::<Pod>::namespaced(environment.client.clone(), NAMESPACE)
        .list(&kube::api::ListParams::default().labels("app.kubernetes.io/name=jobwarden-webhook"))
        .await?;
    let webhook = webhook.items.first().context("no pod of the webhook")?.name_any();
    let taken = json!({"metadata": {"labels": {label::ROLE: "leader"}}});
    let refused = own.patch(&webhook, &parameters, &merge(&taken)).await;
    ensure!(is_held(&refused), "the reaper's token relabels a pod of the webhook: {refused:?}");
    Ok(())
}

/// A change of a webhook.
type Change = fn(&mut Value);

pub(crate) async fn the_webhooks_token_writes_its_certificates_only(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let webhook = stolen(environment, NAMESPACE, "jobwarden-webhook")?;
    let configurations = Api::<MutatingWebhookConfiguration>::all(webhook.clone());
    let before = configurations.get("jobwarden").await.context("reading its configuration")?;
    let parameters = PatchParams { dry_run: true, ..PatchParams::default() };
    let changes: [(&str, Change); 5] = [
        ("sends reviews elsewhere", |hook| hook["clientConfig"]["service"]["name"] = "evil".into()),
        ("reviews Secrets", |hook| hook["rules"][0]["resources"] = json!(["secrets"])),
        ("reviews every namespace", |hook| hook["namespaceSelector"] = json!({})),
        ("lets everything through", |hook| hook["failurePolicy"] = "Ignore".into()),
        ("reviews nothing", |hook| hook["matchConditions"] = json!([{"name": "never", "expression": "false"}])),
    ];
    for (what, change) in changes {
        let mut changed = serde_json::to_value(&before)?;
        // The pods' webhook, whose failurePolicy is Fail.
        let hooks = changed["webhooks"].as_array_mut().context("no webhooks")?;
        let hook = hooks.iter_mut().find(|hook| hook["failurePolicy"] == "Fail").context("no webhook that fails")?;
        change(hook);
        let refused = configurations.patch("jobwarden", &parameters, &webhooks(&changed)).await;
        ensure!(is_held(&refused), "the webhook's token {what}: {refused:?}");
    }
    let mut bundle = serde_json::to_value(&before)?;
    for hook in bundle["webhooks"].as_array_mut().context("no webhooks")? {
        hook["clientConfig"]["caBundle"] = "bmV3".into();
    }
    configurations.patch("jobwarden", &parameters, &webhooks(&bundle)).await.context("writing the caBundle")?;

    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    let pods = Api::<Pod>::all(webhook.clone());
    ensure!(is_forbidden(&pods.list(&kube::api::ListParams::default()).await), "the webhook's token lists pods");
    let secrets = Api::<Secret>::namespaced(webhook.clone(), NAMESPACE);
    ensure!(is_forbidden(&secrets.list(&kube::api::ListParams::default()).await), "the webhook's token lists Secrets");
    let own = secrets.get(object::CA_SECRET).await.context("reading its own Secret")?;
    secrets.replace(object::CA_SECRET, &parameters, &own).await.context("updating its own Secret")?;
    ensure!(is_forbidden(&secrets.get("jobwarden-sink").await), "the webhook's token reads the sink's Secret");
    let new: Secret = serde_json::from_value(json!({"metadata": {"name": "jobwarden-sink-2"}}))?;
    ensure!(is_forbidden(&secrets.create(&parameters, &new).await), "the webhook's token creates Secrets");
    for name in [object::CA_SECRET, object::WEBHOOK_TLS_SECRET, object::REAPER_TLS_SECRET] {
        let deletion = DeleteParams { dry_run: true, ..DeleteParams::default() };
        ensure!(is_forbidden(&secrets.delete(name, &deletion).await), "the webhook's token deletes {name}");
    }
    let maps = Api::<ConfigMap>::namespaced(webhook, NAMESPACE);
    let new: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "any"}}))?;
    ensure!(is_forbidden(&maps.create(&parameters, &new).await), "the webhook's token creates ConfigMaps");
    ensure!(is_forbidden(&maps.get(object::CONFIG).await), "the webhook's token reads other ConfigMaps");
    Ok(())
}

pub(crate) async fn the_agents_token_reads_one_config_map(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let user = "system:serviceaccount:jobwarden-agent:jobwarden-agent";
    let may = async |namespace: &str, verb: &str, group: &str, resource: &str, name: &str| -> anyhow::Result<bool> {
        let review: SubjectAccessReview = serde_json::from_value(json!({"spec": {
            "user": user,
            "groups": ["system:serviceaccounts", "system:serviceaccounts:jobwarden-agent", "system:authenticated"],
            "resourceAttributes": {"namespace": namespace, "verb": verb, "group": group, "resource": resource, "name": name}
        }}))?;
        let reviews = Api::<SubjectAccessReview>::all(environment.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    };
    ensure!(may(NAMESPACE, "get", "", "configmaps", object::REAPER_ENDPOINT).await?, "the agent finds no reaper");
    for verb in ["get", "list", "watch", "create", "update", "patch", "delete"] {
        for (group, resource) in
            [("", "pods"), ("", "secrets"), ("", "nodes"), ("batch", "jobs"), ("jobwarden.io", "joboutcomes")]
        {
            for namespace in [NAMESPACE, "jobwarden-agent", "default", "kube-system"] {
                let allowed = may(namespace, verb, group, resource, "any").await?;
                ensure!(!allowed, "the agent's token may {verb} {resource} in {namespace}");
            }
        }
    }
    Ok(())
}
