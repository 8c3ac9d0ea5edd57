//! The webhook is away.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{FINALIZER, SIDECAR_CONTAINER, label, object, reason};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::bed::Bed;
use jobwarden_tests::ground::{ENDLESS, Ground, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use jobwarden_tests::{harm, wait};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::Outcome;

/// A Deployment of one worker.
fn deployment() -> anyhow::Result<Deployment> {
    let template = Worker::new("serve", 4, ENDLESS).job().spec.context("a Job has a spec")?.template;
    let mut deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "serve"},
        "spec": {"selector": {"matchLabels": {"app": "serve"}}, "template": template},
    }))?;
    let template = &mut deployment.spec.as_mut().context("it has a spec")?.template;
    template.metadata.get_or_insert_default().labels = Some([("app".to_owned(), "serve".to_owned())].into());
    template.spec.as_mut().context("it has a spec")?.restart_policy = Some("Always".to_owned());
    Ok(deployment)
}

fn stamped(job: Option<&Job>) -> bool {
    job.is_some_and(|job| {
        job.labels().contains_key(label::ENROLLED)
            && job.labels().get(label::RUN_ID).is_some_and(|run| run == "42")
            && job.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
    })
}

pub(crate) async fn an_outage_of_the_webhook_delays_enrolled_pods_and_nothing_else(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let (enrolled, apart) =
        (ground.enrolled_namespace("outage").await?, ground.cluster.temp_namespace("apart", &[]).await?);
    harm::scale_webhooks(&ground.cluster, 0).await?;

    // Who is not enrolled feels nothing.
    let plain = Worker::new("plain", 4, Duration::from_secs(1)).on_node(HOME);
    ground.submit(apart.name(), &plain).await?;
    let deployments = Api::<Deployment>::namespaced(ground.client.clone(), enrolled.name());
    deployments.create(&PostParams::default(), &deployment()?).await.context("creating a Deployment")?;
    // An enrolled Job is accepted, and held and labelled by the reaper although nobody admitted it.
    let worker = Worker::new("held-up", 4, ENDLESS).on_node(HOME).label("run-id", "42");
    let job = ground.submit(enrolled.name(), &worker).await?;
    ensure!(!stamped(Some(&job)), "somebody admitted it: {:?}", job.metadata);
    wait::until(&ground.client, enrolled.name(), "held-up", SOON, "stamped by the reaper", stamped).await?;
    wait::until_job(&ground.client, apart.name(), "plain", "Complete", SOON).await?;
    wait::until(&ground.client, enrolled.name(), "serve", SOON, "available", |deployment: Option<&Deployment>| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        status.is_some_and(|status| status.available_replicas == Some(1))
    })
    .await?;
    let pods = Api::<Pod>::namespaced(ground.client.clone(), enrolled.name());
    let of_job = pods.list(&ListParams::default().labels(&format!("{}=held-up", label::JOB_NAME))).await?;
    ensure!(of_job.items.is_empty(), "a pod of the Job got past");

    // Its pod comes once the webhook is back, with all that belongs to it.
    harm::scale_webhooks(&ground.cluster, 2).await?;
    let pod = wait::until_running(&ground.client, enrolled.name(), "held-up", &[], 2 * SOON).await?;
    ensure!(has_sidecar(&pod) && pod.labels().contains_key(label::ENROLLED), "{:?}", pod.metadata);
    ground.finish(enrolled.name(), &pod).await?;
    wait::until_job(&ground.client, enrolled.name(), "held-up", "Complete", SOON).await?;
    Ok(())
}

pub(crate) async fn a_pod_that_an_outage_lets_past_is_reported_as_unguarded(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("past").await?;
    set_failure_policy(ground, "Ignore").await?;
    harm::scale_webhooks(&ground.cluster, 0).await?;
    let worker = Worker::new("unguarded", 4, ENDLESS).on_node(HOME);
    ground.submit(namespace.name(), &worker).await?;
    let pod = wait::until_running(&ground.client, namespace.name(), "unguarded", &[], SOON).await?;
    ensure!(!has_sidecar(&pod), "somebody admitted it");

    let events = Api::<Event>::namespaced(ground.client.clone(), namespace.name());
    let told = async {
        loop {
            let told = events.list(&ListParams::default()).await.context("reading Events")?;
            if told.iter().any(|event| event.reason.as_deref() == Some(reason::SIDECAR_MISSING)) {
                let blamed = told.iter().any(|event| event.reason.as_deref() == Some(reason::SIDECAR_FAULT));
                return anyhow::Ok(blamed);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let blamed = tokio::time::timeout(SOON, told).await.context("nobody says that the pod is unguarded")??;
    ensure!(!blamed, "a sidecar that is not there was blamed");
    let pod = Api::<Pod>::namespaced(ground.client.clone(), namespace.name()).get(&pod.name_any()).await?;
    ensure!(pod.labels().contains_key(label::ENROLLED), "the reaper does not watch it: {:?}", pod.labels());
    ground.finish(namespace.name(), &pod).await?;
    wait::until_job(&ground.client, namespace.name(), "unguarded", "Complete", SOON).await?;
    ensure!(
        ground.receiver.about(namespace.name(), "unguarded").iter().all(|told| !is_loss(told)),
        "it was called lost"
    );

    set_failure_policy(ground, "Fail").await?;
    harm::scale_webhooks(&ground.cluster, 2).await
}

fn is_loss(told: &jobwarden_tests::receiver::Received) -> bool {
    told.event.event_type == OutcomeKind::Lost.event_type()
}

fn has_sidecar(pod: &Pod) -> bool {
    let mut containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    containers.any(|container| container.name == SIDECAR_CONTAINER)
}

/// Of the webhook for pods.
async fn set_failure_policy(ground: &Ground, policy: &str) -> anyhow::Result<()> {
    let patch = json!([
        {"op": "test", "path": "/webhooks/1/name", "value": "pods.jobwarden.io"},
        {"op": "replace", "path": "/webhooks/1/failurePolicy", "value": policy},
    ]);
    let patch = format!("--patch={patch}");
    let name = object::WEBHOOK_CONFIGURATION;
    let arguments = ["patch", "mutatingwebhookconfiguration", name, "--type=json", &patch];
    ground.cluster.kubectl(arguments).await.context("setting the failure policy").map(drop)
}
