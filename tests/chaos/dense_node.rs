//! Failure domains: a dense node that crashes is acted upon at once, and two of three nodes of a zone are held until somebody releases them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use jobwarden_common::names::reason;
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::environment::{ENDLESS, LeasedNode, SOON};
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{reaper_api, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::sleep;

use crate::scenario::{LOST, LOST_AFTER, Running, Scenario};

/// The number of Jobs on the node that crashes.
const DENSE: usize = 60;
/// The number of Jobs on each of the other two nodes of its zone.
const OTHERS: usize = 2;
/// How late a loss may be reported, after lost-after.
const LATE: Duration = Duration::from_secs(5);
/// The label of a node's zone, and the zone of the three nodes.
const ZONE: (&str, &str) = ("topology.kubernetes.io/zone", "dense");

pub(crate) async fn sixty_jobs_of_a_crashed_node_are_failed_at_once_and_two_of_three_nodes_are_held_until_released(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "dense").await?;
    let nodes = scenario.environment.lease_nodes(3).await?;
    try_join_all(nodes.iter().map(|node| set_zone(&scenario, node, Some(ZONE.1)))).await?;
    let [first, second, third] = nodes.as_slice() else { unreachable!("three nodes are leased") };

    let dense = start(&scenario, "dense", DENSE, first).await?;
    let others = [start(&scenario, "second", OTHERS, second).await?, start(&scenario, "third", OTHERS, third).await?];
    drop(dense);
    let crashed = Instant::now();
    scenario.environment.cluster.crash(first.name()).await?;
    for number in 0..DENSE {
        let limit = LOST_AFTER + LATE;
        scenario.notified_in_time(&name("dense", number), LOST.0, LOST.1, (crashed, limit)).await?;
    }
    let guards = reaper_api::guards(&scenario.environment.client).await?;
    ensure!(!guards.breaker.holds, "one node is one failure domain: {guards:#?}");
    untouched(&scenario, &others.iter().flatten().collect::<Vec<_>>()).await?;

    // The node is back, and then two of three are cut off in one instant.
    scenario.environment.cluster.start_node(first.name()).await?;
    scenario.wait_until_ready(first).await?;
    let returned = start(&scenario, "returned", OTHERS, first).await?;
    try_join_all([second, third].map(|node| scenario.environment.cluster.partition(node.name()))).await?;
    sleep(LOST_AFTER + LOST_AFTER / 2).await;
    let held: Vec<_> = ["second", "third"].iter().flat_map(|job| (0..OTHERS).map(|number| name(job, number))).collect();
    for job in &held {
        scenario.event(job, reason::HELD, SOON).await?;
        scenario.notified(job, OutcomeKind::Suspect, LOST.1, SOON).await?;
        let explanation = reaper_api::explanation(&scenario.environment.client, scenario.namespace(), job).await?;
        ensure!(explanation["held"]["guard"] == "breaker", "{explanation:#}");
    }
    untouched(&scenario, &others.iter().flatten().collect::<Vec<_>>()).await?;
    let status = reaper_api::breaker(&scenario.environment.client).await?;
    let [domain] = status.domains.as_slice() else { anyhow::bail!("one zone has tripped: {status:#?}") };
    ensure!((domain.scope.as_str(), domain.name.as_deref()) == ("zone", Some(ZONE.1)), "{status:#?}");
    ensure!((domain.affected, domain.of, status.held_jobs) == (2, 3, held.len()), "{status:#?}");
    ensure!(domain.next_release_in_seconds.is_some_and(|seconds| seconds > 600), "{status:#?}");

    let released = reaper_api::release_breaker(&scenario.environment.client).await?;
    ensure!(released == 2, "{released} nodes were released");
    for job in &held {
        scenario.notified(job, LOST.0, LOST.1, SOON).await?;
    }
    untouched(&scenario, &returned.iter().collect::<Vec<_>>()).await?;

    try_join_all([second, third].map(|node| scenario.environment.cluster.heal(node.name()))).await?;
    for node in &nodes {
        scenario.wait_until_ready(node).await?;
        set_zone(&scenario, node, None).await?;
    }
    scenario.close().await
}

fn name(job: &str, number: usize) -> String {
    format!("{job}-{number}")
}

async fn set_zone(scenario: &Scenario<'_>, node: &LeasedNode, zone: Option<&str>) -> anyhow::Result<()> {
    let nodes = Api::<Node>::all(scenario.environment.client.clone());
    let patch = Patch::Merge(json!({ "metadata": { "labels": { (ZONE.0): zone } } }));
    nodes.patch(node.name(), &PatchParams::default(), &patch).await.context("labelling a node")?;
    Ok(())
}

/// Starts Jobs on a node, and waits until all are reported alive.
async fn start(scenario: &Scenario<'_>, job: &str, count: usize, node: &LeasedNode) -> anyhow::Result<Vec<Running>> {
    let workers: Vec<_> =
        (0..count).map(|number| Worker::new(&name(job, number), 4, ENDLESS).on_node(node.name())).collect();
    try_join_all(workers.iter().map(|worker| scenario.submit(worker))).await?;
    let client = &scenario.environment.client;
    let mut running = Vec::new();
    for worker in &workers {
        let pod = wait::until_running(client, scenario.namespace(), worker.name(), &[], 6 * SOON).await?;
        let process = scenario.process(&pod).await?;
        running.push(Running { pod, process });
    }
    for worker in &workers {
        reaper_api::until_reported_alive(client, scenario.namespace(), worker.name(), SOON).await?;
    }
    Ok(running)
}

/// The workers run, and their Jobs are not failed.
async fn untouched(scenario: &Scenario<'_>, workers: &[&Running]) -> anyhow::Result<()> {
    let jobs = Api::<Job>::namespaced(scenario.environment.client.clone(), scenario.namespace());
    for worker in workers {
        let job = worker.pod.metadata.labels.as_ref().and_then(|labels| labels.get("batch.kubernetes.io/job-name"));
        let job = job.context("a pod of a Job")?;
        ensure!(worker.process.is_alive(), "the worker of {job} has ended");
        let object = jobs.get(job).await?;
        ensure!(wait::reason_of(Some(&object), "FailureTarget").is_none(), "{job}: {:?}", object.status);
    }
    Ok(())
}
