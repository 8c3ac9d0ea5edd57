//! Nodes that crash, are cut off, are deleted, are tainted, or lose their kubelet or runtime.

use std::time::{Duration, Instant};

use anyhow::ensure;
use jobwarden_common::names::{annotation, reason};
use jobwarden_common::notification::{CauseKind, OutcomeKind};
use jobwarden_tests::environment::{ENDLESS, SOON};
use jobwarden_tests::job::{Worker, finish};
use jobwarden_tests::shared_cluster::SharedCluster;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::DeleteParams;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::scenario::{BACKOFF_LIMIT_EXCEEDED, LOST, LOST_AFTER, Scenario};

/// The default of lost-after.
const DEFAULT_LOST_AFTER: Duration = Duration::from_mins(2);

pub(crate) async fn a_loss_on_a_crashed_node_is_reported_within_lost_after_plus_two_seconds(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    Box::pin(a_crash_is_reported(cluster, "crash", doomed(), LOST_AFTER)).await
}

pub(crate) async fn a_loss_is_reported_within_the_default_lost_after_plus_two_seconds(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let doomed = doomed().annotation(annotation::LOST_AFTER, "2m");
    Box::pin(a_crash_is_reported(cluster, "crash-by-default", doomed, DEFAULT_LOST_AFTER)).await
}

fn doomed() -> Worker {
    Worker::new("doomed", 4, ENDLESS)
}

async fn a_crash_is_reported(
    cluster: &SharedCluster,
    name: &str,
    doomed: Worker,
    lost_after: Duration,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, name).await?;
    let node = scenario.environment.lease_node().await?;
    scenario.start(&doomed.on_node(node.name())).await?;
    scenario.environment.wait_for_warm_up().await?;
    // The last sign of life is no later than this.
    let crashed = Instant::now();
    scenario.environment.cluster.crash(node.name()).await?;
    let within = lost_after + Duration::from_secs(2);
    let notification = scenario.notified_in_time("doomed", LOST.0, LOST.1, (crashed, within)).await?;
    ensure!(notification.event.data.decided_by.row == "P8", "{:#?}", notification.event.data);
    scenario.environment.cluster.start_node(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    scenario.close().await
}

pub(crate) async fn a_worker_on_a_deleted_node_is_reported_node_gone_within_30_s(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "gone").await?;
    let node = scenario.environment.lease_node().await?;
    scenario.start(&Worker::new("homeless", 4, ENDLESS).on_node(node.name())).await?;
    scenario.environment.wait_for_warm_up().await?;
    scenario.environment.cluster.crash(node.name()).await?;
    let deleted = Instant::now();
    let nodes = Api::<Node>::all(scenario.environment.client.clone());
    nodes.delete(node.name(), &DeleteParams::default()).await?;
    let within = Duration::from_secs(30);
    let notification =
        scenario.notified_in_time("homeless", OutcomeKind::Lost, reason::NODE_GONE, (deleted, within)).await?;
    ensure!(notification.event.data.decided_by.row == "P2", "{:#?}", notification.event.data);
    scenario.environment.cluster.start_node(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    scenario.close().await
}

pub(crate) async fn a_partition_shorter_than_lost_after_changes_nothing(cluster: &SharedCluster) -> anyhow::Result<()> {
    let node = cluster.environment().await?.lease_node().await?;
    let mut scenario = Scenario::with_bystander_on(cluster, "heals", node.name()).await?;
    let running = scenario.start(&Worker::new("cut-off", 4, ENDLESS).on_node(node.name())).await?;
    scenario.environment.cluster.partition(node.name()).await?;
    // The test shows that nothing happens, so it has to let time pass.
    sleep(LOST_AFTER / 2).await;
    scenario.environment.cluster.heal(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    finish(running.process)?;
    scenario.succeeds("cut-off", SOON).await?;
    scenario.close().await
}

pub(crate) async fn a_worker_that_ends_without_a_kubelet_is_reported_outcome_unknown(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let node = cluster.environment().await?.lease_node().await?;
    let mut scenario = Scenario::with_bystander_on(cluster, "no-kubelet", node.name()).await?;
    let running = scenario.start(&Worker::new("unwitnessed", 4, ENDLESS).on_node(node.name())).await?;
    let stopped = Instant::now();
    scenario.environment.cluster.stop_kubelet(node.name()).await?;
    // The worker ends only after the Lease has expired.
    sleep(LOST_AFTER).await;
    finish(running.process)?;
    // The Lease has not been renewed since.
    let within = LOST_AFTER + Duration::from_secs(30);
    let bound = (stopped, within);
    let notification =
        scenario.notified_in_time("unwitnessed", OutcomeKind::Lost, reason::OUTCOME_UNKNOWN, bound).await?;
    ensure!(!running.process.is_alive(), "the worker is still running");
    ensure!(notification.event.data.decided_by.row == "P5", "{:#?}", notification.event.data);
    scenario.environment.cluster.start_kubelet(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    scenario.close().await
}

pub(crate) async fn a_worker_killed_under_a_hung_runtime_is_reported_process_gone_within_220_s(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let node = cluster.environment().await?.lease_node().await?;
    let mut scenario = Scenario::with_bystander_on(cluster, "hung", node.name()).await?;
    let running = scenario.start(&Worker::new("unburied", 4, ENDLESS).on_node(node.name())).await?;
    // Without the runtime the kubelet keeps reporting that the container is running.
    scenario.environment.cluster.freeze_runtime(node.name()).await?;
    let killed = Instant::now();
    running.process.signal(Signal::SIGKILL)?;
    let bound = (killed, Duration::from_secs(220));
    let notification = scenario.notified_in_time("unburied", OutcomeKind::Lost, reason::PROCESS_GONE, bound).await;
    scenario.environment.cluster.thaw_runtime(node.name()).await?;
    let notification = notification?;
    ensure!(notification.event.data.decided_by.row == "P4", "{:#?}", notification.event.data);
    scenario.wait_until_ready(&node).await?;
    scenario.close().await
}

pub(crate) async fn a_pod_evicted_by_a_taint_is_reported_once_with_that_cause(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "taint").await?;
    let node = scenario.environment.lease_node().await?;
    scenario.start(&Worker::new("evicted", 4, ENDLESS).on_node(node.name())).await?;
    let taint = "chaos=yes:NoExecute";
    scenario.environment.cluster.kubectl(["taint", "node", node.name(), taint]).await?;
    let notification = scenario.notified("evicted", OutcomeKind::Failed, BACKOFF_LIMIT_EXCEEDED, SOON).await;
    scenario.environment.cluster.kubectl(["taint", "node", node.name(), &format!("{taint}-")]).await?;
    let cause = notification?.event.data.cause;
    ensure!(cause.kind == Some(CauseKind::Tainted), "{cause:?}");
    scenario.close().await
}
