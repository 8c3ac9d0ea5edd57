//! What admission changes in Jobs and pods, and what it leaves unchanged.

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jobwarden_common::names::{
    FINALIZER, SERVICE_ACCOUNT_DIR, SIDECAR_CONTAINER, TOKEN_AUDIENCE, annotation, label, label_value,
};
use jobwarden_tests::environment::{ENDLESS, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use kube::ResourceExt as _;
use serde_json::Value;

pub(crate) async fn a_pod_of_an_enrolled_job_gets_labels_and_a_sidecar(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("labels").await?;
    let invalid_label = "a run/ID that is not a valid label value";
    let worker = Worker::new("ort", 4, ENDLESS)
        .on_node(HOME)
        .label("ort-worker", "scanner")
        .label("trace-id-0", "00-abc")
        .env("runId", invalid_label)
        .env("payload", r#"{"scannerJobId":17}"#);
    let job = environment.submit(namespace.name(), &worker).await?;
    let pod = wait::until_running(&environment.client, namespace.name(), "ort", &[], SOON).await?;

    for (labels, annotations) in [(job.labels(), job.annotations()), (pod.labels(), pod.annotations())] {
        ensure!(labels.get(label::JOB_ID).is_some_and(|id| id == "17"), "{labels:?}");
        ensure!(labels.get(label::RUN_ID).is_some_and(|id| id.starts_with("h-") && id.len() == 42), "{labels:?}");
        ensure!(labels.get(label::ENROLLED).is_some_and(|it| it == label_value::TRUE), "{labels:?}");
        ensure!(annotations.get(annotation::RUN_ID).is_some_and(|id| id == invalid_label), "{annotations:?}");
        ensure!(annotations.get(annotation::JOB_ID).is_some_and(|id| id == "17"), "{annotations:?}");
        ensure!(annotations.get(annotation::TRACE_ID).is_some_and(|id| id == "00-abc"), "{annotations:?}");
    }
    ensure!(job.finalizers().iter().any(|it| it == FINALIZER), "{:?}", job.finalizers());
    let spec = pod.spec.as_ref().context("the pod has no spec")?;
    let first = spec.init_containers.iter().flatten().next().context("the pod has no init container")?;
    ensure!(first.name == SIDECAR_CONTAINER && first.restart_policy.as_deref() == Some("Always"), "{first:?}");
    let tolerated =
        spec.tolerations.iter().flatten().find(|it| {
            it.key.as_deref() == Some("node.kubernetes.io/unreachable") && it.toleration_seconds == Some(3600)
        });
    ensure!(tolerated.is_some(), "{:?}", spec.tolerations);
    Ok(())
}

pub(crate) async fn a_namespace_that_is_not_enrolled_is_untouched(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.cluster.temp_namespace("unenrolled", &[]).await?;
    let worker = Worker::new("plain", 4, ENDLESS).on_node(HOME).label("run-id", "5");
    let job = environment.submit(namespace.name(), &worker).await?;
    let pod = wait::until_running(&environment.client, namespace.name(), "plain", &[], SOON).await?;
    for (labels, annotations) in [(job.labels(), job.annotations()), (pod.labels(), pod.annotations())] {
        ensure!(!labels.keys().chain(annotations.keys()).any(|key| key.starts_with("jobwarden.io/")), "{labels:?}");
    }
    ensure!(!job.finalizers().iter().any(|it| it == FINALIZER), "{:?}", job.finalizers());
    let containers = pod.spec.as_ref().map(|spec| spec.init_containers.iter().flatten().count());
    ensure!(containers == Some(0), "an init container was added");
    environment.finish(namespace.name(), &pod).await?;
    wait::until_job(&environment.client, namespace.name(), "plain", "Complete", SOON).await?;
    ensure!(environment.receiver.about(namespace.name(), "plain").is_empty(), "a notification was sent");
    Ok(())
}

pub(crate) async fn the_sidecar_has_its_own_token_and_not_the_workers(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("token").await?;
    let worker = Worker::new("work", 4, ENDLESS).on_node(HOME);
    environment.submit(namespace.name(), &worker).await?;
    let pod = wait::until_running(&environment.client, namespace.name(), "work", &[], SOON).await?;

    let audience_in = async |container: &str| -> anyhow::Result<Value> {
        let pids = environment.cluster.processes_in(namespace.name(), &pod.name_any(), container).await?;
        let pid = pids.first().context("the container has no process")?;
        let path = format!("/proc/{pid}/root{SERVICE_ACCOUNT_DIR}/token");
        let token = tokio::fs::read_to_string(&path).await.with_context(|| format!("reading {path}"))?;
        let claims = token.split('.').nth(1).context("the token does not have three parts")?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
        Ok(claims["aud"].clone())
    };
    let sidecar = audience_in(SIDECAR_CONTAINER).await?;
    ensure!(sidecar == serde_json::json!([TOKEN_AUDIENCE]), "the sidecar has a token for {sidecar}");
    let worker = audience_in("worker").await?;
    ensure!(worker != sidecar, "the worker has the sidecar's token");
    Ok(())
}
