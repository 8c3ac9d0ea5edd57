//! The same crash without jobwarden: a Job in a namespace that is not enrolled, on the same node.

use std::time::{Duration, Instant};

use jobwarden_tests::{cluster::Cluster, job::Worker, progress, wait};
use k8s_openapi::api::batch::v1::Job;
use kube::{Api, api::PostParams};

use super::story;

/// Recorded with `cargo xtask demo --compare`: seconds from the crash until Kubernetes gives up the pod. The node counts
/// as not ready after 50 s, and its pods tolerate that for 300 s.
const RECORDED_REPLACED_AFTER_S: u64 = 346;

const NAMESPACE: &str = "demo-unguarded";
const JOB: &str = "unguarded";
const PATIENCE: Duration = Duration::from_mins(10);

/// Submits the Job; one retry, so that there is something to wait for.
pub(super) async fn submit(cluster: &Cluster, node: &str) -> anyhow::Result<()> {
    let client = cluster.client()?;
    cluster.kubectl(["create", "namespace", NAMESPACE]).await?;
    let job = Worker::new(JOB, 8, Duration::from_hours(1)).near_node(node).retries(1).job();
    Api::<Job>::namespaced(client.clone(), NAMESPACE).create(&PostParams::default(), &job).await?;
    wait::until_running(&client, NAMESPACE, JOB, &[], Duration::from_mins(1)).await?;
    Ok(())
}

/// Waits until Kubernetes replaces the pod and tells how long that took.
pub(super) async fn measure(cluster: &Cluster, crashed: Instant) -> anyhow::Result<()> {
    let client = cluster.client()?;
    let step = progress::step("waiting for what Kubernetes does alone with the same crash (about 6 minutes)");
    let replaced = |job: Option<&Job>| {
        job.and_then(|job| job.status.as_ref()).is_some_and(|status| status.terminating.unwrap_or(0) > 0)
    };
    wait::until::<Job>(&client, NAMESPACE, JOB, PATIENCE, "has a pod that terminates", replaced).await?;
    drop(step);
    story::after_crash(crashed.elapsed(), "Kubernetes alone gives up the pod (measured in this run)");
    Ok(())
}

/// What Kubernetes alone does, as recorded.
pub(super) fn recorded() {
    story::say(format!(
        "  +{RECORDED_REPLACED_AFTER_S:>6} s  Kubernetes alone gives up the pod (recorded; --compare measures it afresh)"
    ));
    story::say("     never    it says `Failed` while the node is away, and it tells nobody");
}
