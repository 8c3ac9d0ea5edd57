//! Faults of jobwarden itself.

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{object, reason};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::environment::{ENDLESS, SOON};
use jobwarden_tests::faults;
use jobwarden_tests::install::{HOME, NAMESPACE};
use jobwarden_tests::job::{Worker, finish};
use jobwarden_tests::shared_cluster::SharedCluster;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::DeleteParams;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::scenario::{BACKOFF_LIMIT_EXCEEDED, LOST, LOST_AFTER, Scenario};

pub(crate) async fn a_loss_during_a_failover_is_reported_once_by_the_new_leader(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "failover").await?;
    let node = scenario.environment.lease_node().await?;
    scenario.start(&Worker::new("inherited", 4, ENDLESS).on_node(node.name())).await?;
    scenario.environment.cluster.crash(node.name()).await?;
    sleep(LOST_AFTER / 2).await;
    let killed = leader(&scenario).await?;
    faults::kill_leader(&scenario.environment.cluster).await?;
    // The next leader takes over after a lease duration, and receives signals for lost-after before it acts.
    scenario.notified("inherited", LOST.0, LOST.1, LOST_AFTER + SOON).await?;
    ensure!(leader(&scenario).await? != killed, "no other reaper has become the leader");
    scenario.environment.cluster.start_node(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    scenario.close().await
}

/// The process that is or was the leader. A process that the kubelet restarts in the same pod differs from it.
async fn leader(scenario: &Scenario<'_>) -> anyhow::Result<String> {
    let leases = Api::<Lease>::namespaced(scenario.environment.client.clone(), NAMESPACE);
    let spec = leases.get(object::REAPER_LEASE).await?.spec;
    spec.and_then(|spec| spec.holder_identity).context("the reapers' Lease has no holder")
}

pub(crate) async fn live_workers_are_left_alone_while_no_agent_runs(cluster: &SharedCluster) -> anyhow::Result<()> {
    let node = cluster.environment().await?.lease_node().await?;
    let mut scenario = Scenario::with_bystander_on(cluster, "agentless", node.name()).await?;
    let steady = scenario.start(&Worker::new("steady", 4, ENDLESS).on_node(node.name())).await?;
    let killed = scenario.start(&Worker::new("killed", 4, ENDLESS).on_node(node.name())).await?;
    faults::run_agents(&scenario.environment.cluster, false).await?;
    killed.process.signal(Signal::SIGKILL)?;
    let notification = scenario.notified("killed", OutcomeKind::Failed, BACKOFF_LIMIT_EXCEEDED, SOON).await;
    // The test shows that nothing happens, so it has to let time pass.
    sleep(LOST_AFTER).await;
    faults::run_agents(&scenario.environment.cluster, true).await?;
    notification?;
    finish(steady.process)?;
    scenario.succeeds("steady", SOON).await?;
    scenario.close().await
}

pub(crate) async fn outcomes_during_a_reaper_outage_are_reported_once_afterwards(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "reaperless").await?;
    let node = scenario.environment.lease_node().await?;
    scenario.start(&Worker::new("crashed", 4, ENDLESS).on_node(node.name())).await?;
    scenario.start(&Worker::new("deleted", 4, ENDLESS).on_node(HOME)).await?;
    let killed = scenario.start(&Worker::new("killed", 4, ENDLESS).on_node(HOME)).await?;
    faults::scale_reapers(&scenario.environment.cluster, 0).await?;
    scenario.environment.cluster.crash(node.name()).await?;
    killed.process.signal(Signal::SIGKILL)?;
    let jobs = Api::<Job>::namespaced(scenario.environment.client.clone(), scenario.namespace());
    jobs.delete("deleted", &DeleteParams::background()).await?;
    // The outage itself.
    sleep(2 * LOST_AFTER).await;
    faults::scale_reapers(&scenario.environment.cluster, 2).await?;
    scenario.notified("killed", OutcomeKind::Failed, BACKOFF_LIMIT_EXCEEDED, SOON).await?;
    scenario.notified("deleted", OutcomeKind::Lost, reason::JOB_DELETED, SOON).await?;
    scenario.notified("crashed", LOST.0, LOST.1, LOST_AFTER + SOON).await?;
    scenario.environment.cluster.start_node(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    scenario.close().await
}
