//! Outages of the API server and of etcd.

use std::time::Duration;

use anyhow::ensure;
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::environment::{ENDLESS, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::{Worker, finish};
use jobwarden_tests::shared_cluster::SharedCluster;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::scenario::{BACKOFF_LIMIT_EXCEEDED, LOST, LOST_AFTER, Scenario};

/// How long Kubernetes' controllers may take after an API server outage: the pauses between their attempts double up to 30 s and
/// are stretched up to twofold (client-go, `tools/cache/reflector.go`), and their work then takes a while.
pub(crate) const CONTROLLERS: Duration = Duration::from_mins(2);

pub(crate) async fn an_etcd_restart_changes_nothing(cluster: &SharedCluster) -> anyhow::Result<()> {
    let node = cluster.environment().await?.lease_node().await?;
    let mut scenario = Scenario::with_bystander_on(cluster, "etcd", node.name()).await?;
    let running = scenario.start(&Worker::new("worked", 4, ENDLESS).on_node(node.name())).await?;
    scenario.environment.cluster.restart_etcd().await?;
    finish(running.process)?;
    scenario.succeeds("worked", SOON).await?;
    scenario.close().await
}

pub(crate) async fn an_api_server_outage_of_a_minute_delays_reports_and_loses_none(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let node = cluster.environment().await?.lease_node().await?;
    let mut scenario = Scenario::open(cluster, "api-down").await?;
    let lost = scenario.start(&Worker::new("lost", 4, ENDLESS).on_node(node.name())).await?;
    let killed = scenario.start(&Worker::new("killed", 4, ENDLESS).on_node(HOME)).await?;
    let done = scenario.start(&Worker::new("done", 4, ENDLESS).on_node(HOME)).await?;
    scenario.environment.cluster.stop_api_server().await?;
    killed.process.signal(Signal::SIGKILL)?;
    finish(done.process)?;
    scenario.environment.cluster.crash(node.name()).await?;
    // The outage itself.
    sleep(2 * LOST_AFTER).await;
    ensure!(!done.process.is_alive() && !lost.process.is_alive(), "a worker is still running");
    scenario.environment.cluster.start_api_server().await?;
    scenario.notified("killed", OutcomeKind::Failed, BACKOFF_LIMIT_EXCEEDED, CONTROLLERS + SOON).await?;
    scenario.succeeds("done", CONTROLLERS).await?;
    // The time of the outage does not count, and a new leader receives signals only once its endpoint is known.
    scenario.notified("lost", LOST.0, LOST.1, CONTROLLERS + LOST_AFTER + SOON).await?;
    scenario.environment.cluster.start_node(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    scenario.close().await
}
