//! Jobs that are scaled down, or drained, at the same time as their node fails: what Kubernetes no longer wants is history.

use anyhow::{Context as _, ensure};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_testbed::Process;
use jobwarden_tests::environment::{ENDLESS, SOON};
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, EvictParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::time::sleep;

use crate::scenario::{LOST_AFTER, Scenario};

pub(crate) async fn a_job_that_is_scaled_down_during_a_crash_is_not_failed(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "scaled").await?;
    let environment = scenario.environment;
    let node = environment.lease_node().await?;
    let first = scenario.start(&Worker::new("elastic", 4, ENDLESS).near_node(node.name())).await?;
    ensure!(node_of(&first.pod) == Some(node.name()), "the worker is on {:?}", node_of(&first.pod));
    environment.wait_for_warm_up().await?;
    environment.cluster.crash(node.name()).await?;
    scenario.set("elastic", json!({"parallelism": 0})).await?;
    // Long enough for its pod to be lost, and to be removed. The test shows that nothing else follows.
    sleep(LOST_AFTER + SOON).await;
    ensure!(!is_reported(&scenario, "elastic"), "it was reported");
    let job = Api::<Job>::namespaced(environment.client.clone(), scenario.namespace()).get("elastic").await?;
    ensure!(wait::reason_of(Some(&job), "FailureTarget").is_none(), "it was failed: {:#?}", job.status);
    scenario.set("elastic", json!({"parallelism": 1})).await?;
    let name = first.pod.name_any();
    let next = wait::until_running(&environment.client, scenario.namespace(), "elastic", &[&name], SOON).await?;
    environment.finish(scenario.namespace(), &next).await?;
    scenario.succeeds("elastic", SOON).await?;
    environment.cluster.start_node(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    scenario.close_allowing_notices().await
}

/// With `on-lost: retry`, the default. The drained worker takes its time to end, and its node goes before it has.
pub(crate) async fn a_drained_worker_that_goes_with_its_node_costs_no_retry(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "drained").await?;
    let environment = scenario.environment;
    let node = environment.lease_node().await?;
    // Two failures would be too many: the eviction is one.
    let worker =
        Worker::new("moved", 4, ENDLESS).near_node(node.name()).retries(1).argument("--ignore-term").grace(120);
    let first = scenario.start(&worker).await?;
    ensure!(node_of(&first.pod) == Some(node.name()), "the worker is on {:?}", node_of(&first.pod));
    environment.wait_for_warm_up().await?;
    environment.cluster.kubectl(["cordon", node.name()]).await?;
    let result = go_after_the_drain(&mut scenario, node.name(), &first.pod, first.process).await;
    // A node that boots after its object was deleted is not cordoned.
    environment.cluster.start_node(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    environment.cluster.kubectl(["uncordon", node.name()]).await?;
    result?;
    scenario.close_allowing_notices().await
}

async fn go_after_the_drain(
    scenario: &mut Scenario<'_>,
    node: &str,
    first: &Pod,
    process: Process,
) -> anyhow::Result<()> {
    let environment = scenario.environment;
    let pods = Api::<Pod>::namespaced(environment.client.clone(), scenario.namespace());
    let name = first.name_any();
    pods.evict(&name, &EvictParams::default()).await.context("draining the node")?;
    let next = wait::until_running(&environment.client, scenario.namespace(), "moved", &[&name], SOON).await?;
    ensure!(process.is_alive(), "the drained worker has ended before its node");
    environment.cluster.crash(node).await?;
    let nodes = Api::<Node>::all(environment.client.clone());
    nodes.delete(node, &DeleteParams::default()).await.context("deleting the node")?;
    // A node that is gone is noticed within 30 s. The test shows that nothing follows from it.
    sleep(SOON).await;
    ensure!(!is_reported(scenario, "moved"), "it was reported");
    environment.finish(scenario.namespace(), &next).await?;
    scenario.succeeds("moved", SOON).await
}

/// Whether anything but a notice was reported about the Job.
fn is_reported(scenario: &Scenario<'_>, job: &str) -> bool {
    let about = scenario.environment.receiver.about(scenario.namespace(), job);
    about.iter().any(|it| it.event.data.kind.is_final() || it.event.data.kind == OutcomeKind::AttemptFailed)
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}
