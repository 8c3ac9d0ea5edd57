//! The breaker: many nodes fall silent at once, and one of them is dead.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::future::try_join_all;
use jobwarden_common::names::reason;
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::environment::{ENDLESS, LeasedNode, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{metrics, reaper_api, wait};
use k8s_openapi::api::batch::v1::Job;
use kube::{Api, ResourceExt as _};
use tokio::time::sleep;

use crate::scenario::{LOST, LOST_AFTER, RECOVERED, Running, Scenario};

/// The number of Jobs on each node that goes silent. The last node has only one, which dies.
const SILENT: [usize; 3] = [15, 14, 1];
/// The number of Jobs on the node that stays connected. The bystander is the tenth.
const CONNECTED: usize = 9;
/// The breaker releases 30 s after the last Job's signals have resumed, which may take 15 s. The rest is room.
const RELEASE_TIMEOUT: Duration = Duration::from_mins(2);

pub(crate) async fn of_thirty_jobs_silent_at_once_only_the_dead_one_is_failed(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "drill").await?;
    let nodes = scenario.environment.lease_nodes(3).await?;
    let [.., last] = nodes.as_slice() else { unreachable!("three nodes are leased") };
    let places = nodes.iter().zip(SILENT).flat_map(|(node, count)| vec![node.name(); count]);
    let places: Vec<_> = places.chain(vec![HOME; CONNECTED]).collect();
    let running = start(&scenario, &places).await?;
    let dead = SILENT.iter().sum::<usize>() - 1;

    let silent_since = Instant::now();
    try_join_all(nodes.iter().map(|node| scenario.environment.cluster.partition(node.name()))).await?;
    // Long enough for every row to find all of them lost.
    sleep(LOST_AFTER + LOST_AFTER / 2).await;
    verify_held(&mut scenario, dead).await?;
    scenario.environment.cluster.crash(last.name()).await?;
    let healed = nodes.iter().filter(|node| node.name() != last.name());
    try_join_all(healed.map(|node| scenario.environment.cluster.heal(node.name()))).await?;

    scenario.notified(&name(dead), LOST.0, LOST.1, RELEASE_TIMEOUT).await?;
    let took = silent_since.elapsed();
    jobwarden_testbed::progress::note(format!("the dead Job of thirty was failed after {took:.1?}"));
    for (number, worker) in running.iter().enumerate().filter(|(number, _)| *number != dead) {
        ensure!(worker.process.is_alive(), "the worker of {} has ended", name(number));
        let job = Api::<Job>::namespaced(scenario.environment.client.clone(), scenario.namespace())
            .get(&name(number))
            .await?;
        ensure!(wait::reason_of(Some(&job), "FailureTarget").is_none(), "{:?}", job.status);
    }
    // What was reported as held is alive.
    for number in 0..dead {
        scenario.notified(&name(number), RECOVERED.0, RECOVERED.1, SOON).await?;
    }
    recover(&scenario, &nodes, last).await?;
    scenario.close().await
}

fn name(number: usize) -> String {
    format!("job-{number}")
}

async fn start(scenario: &Scenario<'_>, places: &[&str]) -> anyhow::Result<Vec<Running>> {
    // All Jobs are created before the first wait.
    let workers: Vec<_> =
        places.iter().enumerate().map(|(number, node)| Worker::new(&name(number), 4, ENDLESS).on_node(node)).collect();
    try_join_all(workers.iter().map(|worker| scenario.submit(worker))).await?;
    let mut running = Vec::new();
    for worker in &workers {
        let pod = wait::until_running(&scenario.environment.client, scenario.namespace(), worker.name(), &[], 3 * SOON)
            .await?;
        let process = scenario.process(&pod).await?;
        running.push(Running { pod, process });
    }
    for worker in &workers {
        reaper_api::until_reported_alive(&scenario.environment.client, scenario.namespace(), worker.name(), SOON)
            .await?;
    }
    Ok(running)
}

/// The hold is visible in metrics, Events, the API, and as a notice that is not final.
async fn verify_held(scenario: &mut Scenario<'_>, last: usize) -> anyhow::Result<()> {
    let guards = reaper_api::guards(&scenario.environment.client).await?;
    ensure!(guards.breaker.holds && guards.breaker.silent == SILENT.len(), "{guards:#?}");
    let held = guards.held.iter().filter(|job| job.namespace == scenario.namespace() && job.guard == "breaker").count();
    ensure!(held == last + 1, "{held} Jobs are held by the breaker: {guards:#?}");
    let leader = metrics::leader(&scenario.environment.client).await?;
    let text = metrics::read(&scenario.environment.client, &leader.name_any()).await?;
    let counted = metrics::sum(&text, "jobwarden_held_jobs", "guard=\"breaker\"");
    ensure!((counted - held as f64).abs() < f64::EPSILON, "jobwarden_held_jobs is {counted}");
    for number in 0..=last {
        let explanation =
            reaper_api::explanation(&scenario.environment.client, scenario.namespace(), &name(number)).await?;
        ensure!(explanation["held"]["guard"] == "breaker", "{explanation:#}");
        scenario.event(&name(number), reason::HELD, SOON).await?;
        scenario.notified(&name(number), OutcomeKind::Suspect, LOST.1, SOON).await?;
    }
    Ok(())
}

async fn recover(scenario: &Scenario<'_>, nodes: &[LeasedNode], crashed: &LeasedNode) -> anyhow::Result<()> {
    scenario.environment.cluster.start_node(crashed.name()).await?;
    for node in nodes {
        scenario.wait_until_ready(node).await?;
    }
    Ok(())
}
