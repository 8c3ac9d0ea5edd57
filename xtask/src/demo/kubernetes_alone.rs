//! The same crash without jobwarden: a Job on the same node in a namespace that is not enrolled.

use std::time::{Duration, Instant};

use jobwarden_testbed::{Cluster, progress};
use jobwarden_tests::{job::Worker, wait};
use k8s_openapi::api::batch::v1::Job;
use kube::{Api, api::PostParams};

use super::output;

/// Recorded with `cargo xtask demo --compare`: seconds from the crash until Kubernetes evicts the pod. The node is marked
/// not ready after 50 s, and its pods tolerate that for 300 s.
const RECORDED_REPLACED_AFTER_S: u64 = 346;

const NAMESPACE: &str = "demo-unguarded";
const JOB: &str = "unguarded";
const PATIENCE: Duration = Duration::from_mins(10);

/// Submits the Job. Its one retry makes the eviction visible in its status.
pub(super) async fn submit(cluster: &Cluster, node: &str) -> anyhow::Result<()> {
    let client = cluster.client()?;
    cluster.kubectl(["create", "namespace", NAMESPACE]).await?;
    let job = Worker::new(JOB, 8, Duration::from_hours(1)).near_node(node).retries(1).job();
    Api::<Job>::namespaced(client.clone(), NAMESPACE).create(&PostParams::default(), &job).await?;
    wait::until_running(&client, NAMESPACE, JOB, &[], Duration::from_mins(1)).await?;
    Ok(())
}

/// Waits until Kubernetes evicts the pod, and prints how long that took.
pub(super) async fn measure(cluster: &Cluster, crashed: Instant) -> anyhow::Result<()> {
    let client = cluster.client()?;
    let step = progress::step("measuring how Kubernetes alone handles the same crash (about 6 minutes)");
    let replaced = |job: Option<&Job>| {
        job.and_then(|job| job.status.as_ref()).is_some_and(|status| status.terminating.unwrap_or(0) > 0)
    };
    wait::until::<Job>(&client, NAMESPACE, JOB, PATIENCE, "terminating a pod", replaced).await?;
    drop(step);
    output::after_crash(crashed.elapsed(), "Kubernetes alone evicts the pod (measured in this run)");
    Ok(())
}

/// Prints the recorded figure.
pub(super) fn recorded() {
    output::line(format!(
        "  +{RECORDED_REPLACED_AFTER_S:>6} s  Kubernetes alone evicts the pod (recorded; --compare measures it again)"
    ));
    output::line("     never    Kubernetes alone marks the Job Failed while the node is down; it notifies nobody");
}
