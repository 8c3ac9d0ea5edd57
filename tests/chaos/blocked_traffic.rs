//! Sidecars and agents that cannot reach the reaper although the worker is fine.

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{port, reason};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_testbed::Traffic;
use jobwarden_tests::environment::{ENDLESS, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::{Worker, finish};
use jobwarden_tests::shared_cluster::SharedCluster;
use tokio::time::sleep;

use crate::scenario::{LOST_AFTER, RECOVERED, Scenario};

pub(crate) async fn a_worker_whose_sidecar_is_cut_off_is_seen_by_the_agent(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "blocked").await?;
    let running = scenario.start(&Worker::new("mute", 4, ENDLESS).on_node(HOME)).await?;
    let address =
        running.pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()).context("the pod has no address")?;
    let blocked = Traffic::FromPod(address.parse()?);
    scenario.environment.cluster.block(HOME, blocked).await?;
    let event = scenario.event("mute", reason::SIDECAR_FAULT, SOON).await;
    // The test shows that nothing more happens, so it has to let time pass.
    sleep(LOST_AFTER).await;
    scenario.environment.cluster.unblock(HOME, blocked).await?;
    event?;
    finish(running.process)?;
    scenario.succeeds("mute", SOON).await?;
    scenario.close().await
}

pub(crate) async fn a_silent_worker_on_a_healthy_node_is_reported_unseen_and_never_lost(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "unseen").await?;
    let node = scenario.environment.lease_node().await?;
    let running = scenario.start(&Worker::new("hidden", 4, ENDLESS).on_node(node.name())).await?;
    let blocked = Traffic::ToPort(port::REAPER);
    scenario.environment.cluster.block(node.name(), blocked).await?;
    let notification = scenario.notified("hidden", OutcomeKind::Suspect, reason::UNSEEN, LOST_AFTER + SOON).await;
    sleep(LOST_AFTER / 2).await;
    scenario.environment.cluster.unblock(node.name(), blocked).await?;
    let (kind, reason) = RECOVERED;
    scenario.notified("hidden", kind, reason, SOON).await?;
    let message = notification?.event.data.message;
    ensure!(message.contains("NetworkPolicy"), "the message has no advice: {message}");
    finish(running.process)?;
    scenario.succeeds("hidden", SOON).await?;
    scenario.close().await
}
