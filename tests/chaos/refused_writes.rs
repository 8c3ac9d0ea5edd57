//! Writes of the reaper that the API server refuses: the outcome is recorded and reported all the same, with the refusal.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_tests::environment::{ENDLESS, SOON};
use jobwarden_tests::faults::{self, REFUSAL, Refusal};
use jobwarden_tests::job::{Worker, finish};
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use tokio::time::sleep;

use crate::scenario::{LOST, LOST_AFTER, Scenario};

/// How long the API server takes at most until it applies a new policy or role.
const APPLIES: Duration = Duration::from_secs(10);

pub(crate) async fn a_loss_is_reported_in_time_although_a_policy_refuses_the_writes(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    Box::pin(a_loss_is_reported(cluster, "refused-by-policy", Refusal::ByPolicy, REFUSAL)).await
}

pub(crate) async fn a_loss_is_reported_in_time_although_the_role_lacks_the_rights(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    Box::pin(a_loss_is_reported(cluster, "refused-by-role", Refusal::ByRights, "cannot patch resource")).await
}

async fn a_loss_is_reported(
    cluster: &SharedCluster,
    name: &str,
    refusal: Refusal,
    refused: &str,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, name).await?;
    let environment = scenario.environment;
    let node = environment.lease_node().await?;
    scenario.start(&Worker::new("doomed", 4, ENDLESS).on_node(node.name())).await?;
    environment.wait_for_warm_up().await?;
    let namespace = scenario.namespace().to_owned();
    faults::refuse_writes(&environment.cluster, refusal, &namespace).await?;
    sleep(APPLIES).await;
    let crashed = Instant::now();
    environment.cluster.crash(node.name()).await?;
    let within = LOST_AFTER + Duration::from_secs(5);
    let reported = scenario.notified_in_time("doomed", LOST.0, LOST.1, (crashed, within)).await;
    faults::allow_writes(&environment.cluster, refusal, &namespace).await?;
    let data = reported?.event.data;
    let text = serde_json::to_string(&data).context("writing the notification down")?;
    ensure!(text.contains(refused), "the notification does not tell the refusal: {data:#?}");
    // What was refused is tried again, and nothing is reported twice: the scenario allows one notification.
    let failed = wait::until_job(&environment.client, &namespace, "doomed", "Failed", 3 * SOON).await?;
    ensure!(failed == LOST.1, "the Job was failed for {failed}");
    environment.cluster.start_node(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    scenario.close().await
}

/// A worker that was lost by design, behind a partition, goes on because it could not be failed. It stays lost.
pub(crate) async fn a_worker_that_could_not_be_failed_is_reported_once(cluster: &SharedCluster) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "refused-alive").await?;
    let environment = scenario.environment;
    let node = environment.lease_node().await?;
    let running = scenario.start(&Worker::new("alive", 4, ENDLESS).on_node(node.name())).await?;
    environment.wait_for_warm_up().await?;
    let namespace = scenario.namespace().to_owned();
    faults::refuse_writes(&environment.cluster, Refusal::ByPolicy, &namespace).await?;
    sleep(APPLIES).await;
    environment.cluster.partition(node.name()).await?;
    let reported = scenario.notified("alive", LOST.0, LOST.1, LOST_AFTER + SOON).await;
    environment.cluster.heal(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    let finished = finish(running.process);
    let complete = wait::until_job(&environment.client, &namespace, "alive", "Complete", SOON).await;
    faults::allow_writes(&environment.cluster, Refusal::ByPolicy, &namespace).await?;
    reported?;
    finished?;
    complete?;
    // Long enough for another notification about it.
    sleep(LOST_AFTER).await;
    let finals = environment.receiver.about(&namespace, "alive").into_iter().filter(|it| it.event.data.kind.is_final());
    ensure!(finals.count() == 1, "it was reported more than once");
    scenario.close_allowing_notices().await
}
