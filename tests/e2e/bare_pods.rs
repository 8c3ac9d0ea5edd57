//! Bare pods that opted in: each is watched, evaluated and reported like a Job with one pod.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{SIDECAR_CONTAINER, label, label_value, reason};
use jobwarden_common::notification::{CauseKind, CloudEvent, OutcomeKind};
use jobwarden_tests::environment::{ENDLESS, Environment, RECOVERY, SOON};
use jobwarden_tests::install::{HOME, Settings};
use jobwarden_tests::job::Worker;
use jobwarden_tests::receiver::Received;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{reaper_api, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, ResourceExt as _};

pub(crate) async fn a_bare_pod_on_a_crashed_node_is_reported_lost_and_removed(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let node = environment.lease_node().await?;
    let namespace = environment.enrolled_namespace("bare-lost").await?;
    let pod = create(environment, namespace.name(), Worker::new("alone", 8, ENDLESS).on_node(node.name())).await?;
    reaper_api::until_reported_alive(&environment.client, namespace.name(), "alone", SOON).await?;
    let crashed = Instant::now();
    environment.cluster.crash(node.name()).await?;

    let lost = reported(environment, namespace.name(), "alone", OutcomeKind::Lost).await?;
    let took = lost.at - crashed;
    ensure!(took <= Settings::default().lost_after + Duration::from_secs(20), "reported {took:?} after the crash");
    let data = &lost.event.data;
    ensure!(data.reason == reason::NODE_UNREACHABLE && data.decided_by.row == "P8", "{data:#?}");
    ensure!(pod.uid().is_some_and(|uid| uid == data.job_uid.as_str()) && data.is_of_bare_pod(), "{data:#?}");
    // Its node cannot end it and no controller replaces it, so jobwarden marks it Failed.
    let marked_failed = |pod: Option<&Pod>| {
        let status = pod.and_then(|pod| pod.status.as_ref());
        status.is_some_and(|status| {
            status.phase.as_deref() == Some("Failed") && status.reason.as_deref() == Some(reason::NODE_UNREACHABLE)
        })
    };
    wait::until(&environment.client, namespace.name(), "alone", SOON, "marked failed", marked_failed).await?;
    environment.cluster.start_node(node.name()).await?;
    wait::until_gone::<Pod>(&environment.client, namespace.name(), "alone", RECOVERY).await?;
    let about = environment.receiver.about(namespace.name(), "alone");
    ensure!(about.len() == 1 && about[0].deliveries == 1, "expected one notification delivered once: {about:#?}");
    environment.cluster.wait_for_node(node.name(), true, RECOVERY).await?;
    Ok(())
}

pub(crate) async fn a_bare_pod_is_reported_by_how_it_ends(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("bare").await?;
    let namespace = namespace.name();
    let worker = |name: &str, duration| Worker::new(name, 4, duration).on_node(HOME);
    create(environment, namespace, worker("succeeds", Duration::from_secs(2))).await?;
    create(environment, namespace, worker("fails", Duration::from_secs(2)).argument("--exit=3")).await?;
    create(environment, namespace, worker("deleted", ENDLESS)).await?;

    reported(environment, namespace, "succeeds", OutcomeKind::Succeeded).await?;
    let failed = reported(environment, namespace, "fails", OutcomeKind::Failed).await?;
    let cause = &failed.event.data.cause;
    ensure!(cause.kind == Some(CauseKind::ExitCode) && cause.exit_code == Some(3), "{cause:#?}");
    let logs = failed.event.data.logs.as_ref().context("the notification has no log lines")?;
    let has_line = logs.lines.last().is_some_and(|line| line.starts_with("touched 4194304 bytes, "));
    ensure!(logs.container.as_deref() == Some("worker") && has_line, "{logs:#?}");
    reaper_api::until_reported_alive(&environment.client, namespace, "deleted", SOON).await?;
    let pods = Api::<Pod>::namespaced(environment.client.clone(), namespace);
    pods.delete("deleted", &DeleteParams::default()).await.context("deleting the pod")?;
    let deleted = reported(environment, namespace, "deleted", OutcomeKind::Deleted).await?;
    ensure!(deleted.event.data.reason == reason::POD_DELETED, "{:#?}", deleted.event.data);
    wait::until_gone::<Pod>(&environment.client, namespace, "deleted", SOON).await?;
    for name in ["succeeds", "fails", "deleted"] {
        let about = environment.receiver.about(namespace, name);
        ensure!(
            about.len() == 1 && about[0].deliveries == 1,
            "expected one notification about {name}, delivered once: {about:#?}"
        );
    }
    // jobwarden does not delete finished bare pods: their owner may read them.
    for name in ["succeeds", "fails"] {
        pods.get(name).await.with_context(|| format!("{name} was deleted"))?;
    }
    Ok(())
}

/// Creates the worker as a bare pod.
async fn create(environment: &Environment, namespace: &str, worker: Worker) -> anyhow::Result<Pod> {
    let worker = worker.label(label::INJECT, label_value::TRUE);
    let template = worker.job().spec.context("the Job has no spec")?.template;
    let metadata = ObjectMeta { name: Some(worker.name().to_owned()), ..template.metadata.unwrap_or_default() };
    let pod = Pod { metadata, spec: template.spec, status: None };
    let pods = Api::<Pod>::namespaced(environment.client.clone(), namespace);
    let pod = pods.create(&PostParams::default(), &pod).await.with_context(|| format!("creating {}", worker.name()))?;
    let mut containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    ensure!(containers.any(|it| it.name == SIDECAR_CONTAINER), "the pod was not enrolled: {:?}", pod.metadata);
    Ok(pod)
}

async fn reported(
    environment: &Environment,
    namespace: &str,
    pod: &str,
    kind: OutcomeKind,
) -> anyhow::Result<Received> {
    environment.receiver.wait_for(namespace, pod, 2 * SOON, |event: &CloudEvent| event.data.kind == kind).await
}
