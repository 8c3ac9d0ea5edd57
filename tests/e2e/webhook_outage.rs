//! Outages of the webhook.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{FINALIZER, SIDECAR_CONTAINER, label, object, reason};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::environment::{ENDLESS, Environment, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{faults, wait};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

/// A Deployment of one worker.
fn deployment() -> anyhow::Result<Deployment> {
    let template = Worker::new("serve", 4, ENDLESS).job().spec.context("the Job has no spec")?.template;
    let mut deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "serve"},
        "spec": {"selector": {"matchLabels": {"app": "serve"}}, "template": template},
    }))?;
    let template = &mut deployment.spec.as_mut().context("the Deployment has no spec")?.template;
    template.metadata.get_or_insert_default().labels = Some([("app".to_owned(), "serve".to_owned())].into());
    template.spec.as_mut().context("the Deployment has no spec")?.restart_policy = Some("Always".to_owned());
    Ok(deployment)
}

fn is_enrolled(job: Option<&Job>) -> bool {
    job.is_some_and(|job| {
        job.labels().contains_key(label::ENROLLED)
            && job.labels().get(label::RUN_ID).is_some_and(|run| run == "42")
            && job.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
    })
}

pub(crate) async fn a_webhook_outage_delays_only_pods_of_enrolled_jobs(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let (enrolled, unenrolled) =
        (environment.enrolled_namespace("outage").await?, environment.cluster.temp_namespace("unenrolled", &[]).await?);
    faults::scale_webhooks(&environment.cluster, 0).await?;

    // Namespaces that are not enrolled, and Deployments, are not affected.
    let plain = Worker::new("plain", 4, Duration::from_secs(1)).on_node(HOME);
    environment.submit(unenrolled.name(), &plain).await?;
    let deployments = Api::<Deployment>::namespaced(environment.client.clone(), enrolled.name());
    deployments.create(&PostParams::default(), &deployment()?).await.context("creating a Deployment")?;
    // The API server accepts an enrolled Job without the webhook, and the reaper adds the labels and the finalizer.
    let worker = Worker::new("held-up", 4, ENDLESS).on_node(HOME).label("run-id", "42");
    let job = environment.submit(enrolled.name(), &worker).await?;
    ensure!(!is_enrolled(Some(&job)), "the webhook admitted the Job: {:?}", job.metadata);
    wait::until(&environment.client, enrolled.name(), "held-up", SOON, "enrolled by the reaper", is_enrolled).await?;
    wait::until_job(&environment.client, unenrolled.name(), "plain", "Complete", SOON).await?;
    wait::until(&environment.client, enrolled.name(), "serve", SOON, "available", |deployment: Option<&Deployment>| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        status.is_some_and(|status| status.available_replicas == Some(1))
    })
    .await?;
    let pods = Api::<Pod>::namespaced(environment.client.clone(), enrolled.name());
    let of_job = pods.list(&ListParams::default().labels(&format!("{}=held-up", label::JOB_NAME))).await?;
    ensure!(of_job.items.is_empty(), "a pod of the Job was created without the webhook");

    // Its pod is created once the webhook is back, with sidecar and labels.
    faults::scale_webhooks(&environment.cluster, 2).await?;
    let pod = wait::until_running(&environment.client, enrolled.name(), "held-up", &[], 2 * SOON).await?;
    ensure!(has_sidecar(&pod) && pod.labels().contains_key(label::ENROLLED), "{:?}", pod.metadata);
    environment.finish(enrolled.name(), &pod).await?;
    wait::until_job(&environment.client, enrolled.name(), "held-up", "Complete", SOON).await?;
    Ok(())
}

pub(crate) async fn a_pod_created_without_the_webhook_is_reported_as_sidecar_missing(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("unadmitted").await?;
    set_failure_policy(environment, "Ignore").await?;
    faults::scale_webhooks(&environment.cluster, 0).await?;
    let worker = Worker::new("no-sidecar", 4, ENDLESS).on_node(HOME);
    environment.submit(namespace.name(), &worker).await?;
    let pod = wait::until_running(&environment.client, namespace.name(), "no-sidecar", &[], SOON).await?;
    ensure!(!has_sidecar(&pod), "the webhook admitted the pod");

    let events = Api::<Event>::namespaced(environment.client.clone(), namespace.name());
    let reported = async {
        loop {
            let events = events.list(&ListParams::default()).await.context("reading Events")?;
            if events.iter().any(|event| event.reason.as_deref() == Some(reason::SIDECAR_MISSING)) {
                let blamed = events.iter().any(|event| event.reason.as_deref() == Some(reason::SIDECAR_FAULT));
                return anyhow::Ok(blamed);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let blamed = tokio::time::timeout(SOON, reported).await.context("no Event says that the sidecar is missing")??;
    ensure!(!blamed, "an Event blames a sidecar that does not exist");
    let pod = Api::<Pod>::namespaced(environment.client.clone(), namespace.name()).get(&pod.name_any()).await?;
    ensure!(pod.labels().contains_key(label::ENROLLED), "the reaper did not enroll the pod: {:?}", pod.labels());
    environment.finish(namespace.name(), &pod).await?;
    wait::until_job(&environment.client, namespace.name(), "no-sidecar", "Complete", SOON).await?;
    ensure!(
        environment.receiver.about(namespace.name(), "no-sidecar").iter().all(|it| !is_loss(it)),
        "the Job was reported lost"
    );

    set_failure_policy(environment, "Fail").await?;
    faults::scale_webhooks(&environment.cluster, 2).await
}

fn is_loss(notification: &jobwarden_tests::receiver::Received) -> bool {
    notification.event.event_type == OutcomeKind::Lost.event_type()
}

fn has_sidecar(pod: &Pod) -> bool {
    let mut containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    containers.any(|container| container.name == SIDECAR_CONTAINER)
}

/// Sets the failure policy of the webhook for pods.
async fn set_failure_policy(environment: &Environment, policy: &str) -> anyhow::Result<()> {
    let patch = json!([
        {"op": "test", "path": "/webhooks/1/name", "value": "pods.jobwarden.io"},
        {"op": "replace", "path": "/webhooks/1/failurePolicy", "value": policy},
    ]);
    let patch = format!("--patch={patch}");
    let name = object::WEBHOOK_CONFIGURATION;
    let arguments = ["patch", "mutatingwebhookconfiguration", name, "--type=json", &patch];
    environment.cluster.kubectl(arguments).await.context("setting the failure policy").map(drop)
}
