//! Workers that end, and Jobs that are suspended and resumed.

use std::time::Duration;

use anyhow::ensure;
use jobwarden_common::names::{annotation, reason};
use jobwarden_common::notification::{Cause, CauseKind, OutcomeKind};
use jobwarden_tests::environment::{ENDLESS, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::scenario::{BACKOFF_LIMIT_EXCEEDED, Scenario};

/// An image that no registry has; `.invalid` names no host (RFC 2606).
pub(crate) const NO_IMAGE: &str = "registry.invalid/nothing:none";

pub(crate) async fn a_worker_killed_by_a_signal_is_reported_once_with_that_cause(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "sigkill").await?;
    let running = scenario.start(&Worker::new("killed", 4, ENDLESS).on_node(HOME)).await?;
    running.process.signal(Signal::SIGKILL)?;
    let cause = failed(&mut scenario, "killed").await?;
    ensure!(cause.kind == Some(CauseKind::Signal) && cause.signal.as_deref() == Some("SIGKILL"), "{cause:?}");
    scenario.close().await
}

pub(crate) async fn a_worker_out_of_memory_is_reported_once_with_that_cause(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "oom").await?;
    scenario.submit(&Worker::new("hungry", 256, ENDLESS).on_node(HOME).memory_limit(32)).await?;
    let cause = failed(&mut scenario, "hungry").await?;
    ensure!(cause.kind == Some(CauseKind::OomKilled) && cause.container.as_deref() == Some("worker"), "{cause:?}");
    scenario.close().await
}

pub(crate) async fn a_worker_that_exits_3_is_reported_once_with_that_cause(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "exits").await?;
    scenario.submit(&Worker::new("three", 4, Duration::from_secs(3)).on_node(HOME).argument("--exit=3")).await?;
    let cause = failed(&mut scenario, "three").await?;
    ensure!(cause.kind == Some(CauseKind::ExitCode) && cause.exit_code == Some(3), "{cause:?}");
    scenario.close().await
}

pub(crate) async fn a_missing_image_is_reported_after_start_timeout(cluster: &SharedCluster) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "image").await?;
    scenario.environment.wait_for_warm_up().await?;
    let start_timeout = Duration::from_secs(20);
    let worker = Worker::new("imageless", 4, ENDLESS)
        .on_node(HOME)
        .image(NO_IMAGE)
        .annotation(annotation::START_TIMEOUT, &format!("{}s", start_timeout.as_secs()));
    scenario.submit(&worker).await?;
    let within = start_timeout + SOON;
    let notification = scenario.notified("imageless", OutcomeKind::Lost, reason::IMAGE_PULL_FAILED, within).await?;
    ensure!(notification.event.data.decided_by.row == "P3", "{:#?}", notification.event.data);
    ensure!(notification.event.data.message.contains(NO_IMAGE), "{}", notification.event.data.message);
    scenario.close().await
}

pub(crate) async fn a_suspended_and_resumed_job_is_reported_once_when_it_succeeds(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "resumed").await?;
    let first = scenario.start(&Worker::new("paused", 4, ENDLESS).on_node(HOME)).await?;
    scenario.set("paused", json!({"suspend": true})).await?;
    let name = first.pod.name_any();
    wait::until_gone::<Pod>(&scenario.environment.client, scenario.namespace(), &name, SOON).await?;
    scenario.set("paused", json!({"suspend": false})).await?;
    let second =
        wait::until_running(&scenario.environment.client, scenario.namespace(), "paused", &[&name], SOON).await?;
    scenario.environment.finish(scenario.namespace(), &second).await?;
    scenario.succeeds("paused", SOON).await?;
    scenario.close().await
}

/// Waits until the Job is reported as failed by Kubernetes, and returns the cause.
async fn failed(scenario: &mut Scenario<'_>, job: &str) -> anyhow::Result<Cause> {
    let notification = scenario.notified(job, OutcomeKind::Failed, BACKOFF_LIMIT_EXCEEDED, SOON).await?;
    Ok(notification.event.data.cause)
}
