//! Faults of jobwarden itself.

mod refused_writes;

use anyhow::Context as _;
use jobwarden_common::names::object;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::install::{self, NAMESPACE};
use crate::metrics;
use jobwarden_testbed::Cluster;

pub use refused_writes::{REFUSAL, Refusal, allow_writes, refuse_writes};

/// The variable by which a reaper pretends that the clock of its host is wrong by so many seconds.
const CLOCK_SKEW: &str = "JOBWARDEN_CLOCK_SKEW_SECONDS";

/// Kills the leading reaper with SIGKILL.
pub async fn kill_leader(cluster: &Cluster) -> anyhow::Result<()> {
    let leader = metrics::leader(&cluster.client()?).await?.name_any();
    cluster.kill_process_in(NAMESPACE, &leader, "reaper", Signal::SIGKILL).await?;
    Ok(())
}

/// Scales the reapers, and waits until that is done.
pub async fn scale_reapers(cluster: &Cluster, replicas: u8) -> anyhow::Result<()> {
    scale(cluster, object::REAPER_SERVICE, replicas).await
}

/// Scales the webhooks, and waits until the API server calls them, or until none is left.
pub async fn scale_webhooks(cluster: &Cluster, replicas: u8) -> anyhow::Result<()> {
    scale(cluster, object::WEBHOOK_SERVICE, replicas).await?;
    if replicas > 0 { install::wait_until_admitting(cluster).await } else { Ok(()) }
}

async fn scale(cluster: &Cluster, deployment: &str, replicas: u8) -> anyhow::Result<()> {
    let namespace = format!("--namespace={NAMESPACE}");
    let wanted = format!("--replicas={replicas}");
    let scaled = cluster.kubectl(["scale", &namespace, "deployment", deployment, &wanted]).await;
    scaled.with_context(|| format!("scaling {deployment}"))?;
    if replicas == 0 {
        let selector = format!("--selector=app.kubernetes.io/name={deployment}");
        let gone = ["wait", "--for=delete", "pod", &namespace, &selector, "--timeout=60s"];
        cluster
            .kubectl(gone)
            .await
            .with_context(|| format!("waiting for the last pod of {deployment} to be deleted"))?;
    } else {
        let ready = ["rollout", "status", &namespace, &format!("deployment/{deployment}"), "--timeout=60s"];
        cluster.kubectl(ready).await.with_context(|| format!("waiting for {deployment}"))?;
    }
    Ok(())
}

/// Removes the agents from every node or lets them run again, and waits until that is done.
pub async fn run_agents(cluster: &Cluster, run: bool) -> anyhow::Result<()> {
    // No node has this label.
    let nowhere = if run { json!(null) } else { json!({"jobwarden.io/nowhere": "true"}) };
    let patch = json!({"spec": {"template": {"spec": {"nodeSelector": nowhere}}}});
    let agents = Api::<DaemonSet>::namespaced(cluster.client()?, object::AGENT);
    agents
        .patch(object::AGENT, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .context("patching the node selector of the agents")?;
    let namespace = format!("--namespace={}", object::AGENT);
    if run {
        let ready = ["rollout", "status", &namespace, &format!("daemonset/{}", object::AGENT), "--timeout=60s"];
        cluster.kubectl(ready).await.context("waiting for the agents")?;
    } else {
        let gone = ["wait", "--for=delete", "pod", "--all", &namespace, "--timeout=60s"];
        cluster.kubectl(gone).await.context("waiting for the last agent to be deleted")?;
    }
    Ok(())
}

/// Sets the error of the clock that the reapers see, in seconds, and waits until they have been replaced. Zero means none.
pub async fn skew_clock(cluster: &Cluster, seconds: i64) -> anyhow::Result<()> {
    let (namespace, deployment) =
        (format!("--namespace={NAMESPACE}"), format!("deployment/{}", object::REAPER_SERVICE));
    let offset = if seconds == 0 { format!("{CLOCK_SKEW}-") } else { format!("{CLOCK_SKEW}={seconds}") };
    cluster
        .kubectl(["set", "env", &namespace, &deployment, &offset])
        .await
        .context("setting the error of the reapers' clock")?;
    let ready = ["rollout", "status", &namespace, &deployment, "--timeout=120s"];
    cluster.kubectl(ready).await.context("waiting for reapers with another clock")?;
    Ok(())
}
