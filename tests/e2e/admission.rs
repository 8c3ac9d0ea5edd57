//! What admission does to Jobs and pods, and what it leaves alone.

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jobwarden_common::names::{
    FINALIZER, SERVICE_ACCOUNT_DIR, SIDECAR_CONTAINER, TOKEN_AUDIENCE, annotation, label, label_value,
};
use jobwarden_tests::bed::Bed;
use jobwarden_tests::ground::{ENDLESS, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use jobwarden_tests::wait;
use kube::ResourceExt as _;
use serde_json::Value;

use crate::Outcome;

pub(crate) async fn a_jobs_pod_gets_labels_and_sidecar(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("labels").await?;
    let odd = "a run/ID that is no label value";
    let worker = Worker::new("ort", 4, ENDLESS)
        .on_node(HOME)
        .label("ort-worker", "scanner")
        .label("trace-id-0", "00-abc")
        .env("runId", odd)
        .env("payload", r#"{"scannerJobId":17}"#);
    let job = ground.submit(namespace.name(), &worker).await?;
    let pod = wait::until_running(&ground.client, namespace.name(), "ort", &[], SOON).await?;

    for (labels, annotations) in [(job.labels(), job.annotations()), (pod.labels(), pod.annotations())] {
        ensure!(labels.get(label::JOB_ID).is_some_and(|id| id == "17"), "{labels:?}");
        ensure!(labels.get(label::RUN_ID).is_some_and(|id| id.starts_with("h-") && id.len() == 42), "{labels:?}");
        ensure!(labels.get(label::ENROLLED).is_some_and(|it| it == label_value::TRUE), "{labels:?}");
        ensure!(annotations.get(annotation::RUN_ID).is_some_and(|id| id == odd), "{annotations:?}");
        ensure!(annotations.get(annotation::JOB_ID).is_some_and(|id| id == "17"), "{annotations:?}");
        ensure!(annotations.get(annotation::TRACE_ID).is_some_and(|id| id == "00-abc"), "{annotations:?}");
    }
    ensure!(job.finalizers().iter().any(|it| it == FINALIZER), "{:?}", job.finalizers());
    let spec = pod.spec.as_ref().context("a pod has a spec")?;
    let first = spec.init_containers.iter().flatten().next().context("there is an init container")?;
    ensure!(first.name == SIDECAR_CONTAINER && first.restart_policy.as_deref() == Some("Always"), "{first:?}");
    let tolerated =
        spec.tolerations.iter().flatten().find(|it| {
            it.key.as_deref() == Some("node.kubernetes.io/unreachable") && it.toleration_seconds == Some(3600)
        });
    ensure!(tolerated.is_some(), "{:?}", spec.tolerations);
    Ok(())
}

pub(crate) async fn a_namespace_that_is_not_enrolled_is_untouched(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.cluster.temp_namespace("apart", &[]).await?;
    let worker = Worker::new("plain", 4, ENDLESS).on_node(HOME).label("run-id", "5");
    let job = ground.submit(namespace.name(), &worker).await?;
    let pod = wait::until_running(&ground.client, namespace.name(), "plain", &[], SOON).await?;
    for (labels, annotations) in [(job.labels(), job.annotations()), (pod.labels(), pod.annotations())] {
        ensure!(!labels.keys().chain(annotations.keys()).any(|key| key.starts_with("jobwarden.io/")), "{labels:?}");
    }
    ensure!(!job.finalizers().iter().any(|it| it == FINALIZER), "{:?}", job.finalizers());
    let containers = pod.spec.as_ref().map(|spec| spec.init_containers.iter().flatten().count());
    ensure!(containers == Some(0), "an init container was added");
    ground.finish(namespace.name(), &pod).await?;
    wait::until_job(&ground.client, namespace.name(), "plain", "Complete", SOON).await?;
    ensure!(ground.receiver.about(namespace.name(), "plain").is_empty(), "somebody was told");
    Ok(())
}

pub(crate) async fn the_workloads_token_is_not_in_the_sidecar(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("token").await?;
    let worker = Worker::new("work", 4, ENDLESS).on_node(HOME);
    ground.submit(namespace.name(), &worker).await?;
    let pod = wait::until_running(&ground.client, namespace.name(), "work", &[], SOON).await?;

    let audience_in = async |container: &str| -> anyhow::Result<Value> {
        let pids = ground.cluster.processes_in(namespace.name(), &pod.name_any(), container).await?;
        let pid = pids.first().context("the container has a process")?;
        let path = format!("/proc/{pid}/root{SERVICE_ACCOUNT_DIR}/token");
        let token = tokio::fs::read_to_string(&path).await.with_context(|| format!("reading {path}"))?;
        let claims = token.split('.').nth(1).context("a token has three parts")?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
        Ok(claims["aud"].clone())
    };
    let ours = audience_in(SIDECAR_CONTAINER).await?;
    ensure!(ours == serde_json::json!([TOKEN_AUDIENCE]), "the sidecar holds a token for {ours}");
    let theirs = audience_in("worker").await?;
    ensure!(theirs != ours, "the worker holds the sidecar's token");
    Ok(())
}
