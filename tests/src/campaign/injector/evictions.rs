//! Evictions: by a taint, and by a drain. No new pod is placed on the node meanwhile.

use std::time::Duration;

use anyhow::Context as _;
use jobwarden_common::names::label;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{EvictParams, ListParams};
use kube::{Api, ResourceExt as _};
use tokio::time::sleep;

use super::recovery::persist;
use crate::campaign::history::{CampaignTime, Eviction, History, JobHistory, Span, close};
use crate::campaign::state::Campaign;

const TAINT: &str = "chaos=yes:NoExecute";

/// Taints the node, so that every pod is evicted, also one that is bound to it at the last moment.
pub(super) async fn taint(campaign: &Campaign, node: &str, duration: Duration) -> anyhow::Result<()> {
    let cluster = &campaign.environment.cluster;
    shut(campaign, node);
    let asked = campaign.now();
    let affected = |job: &&mut JobHistory| job.node == node && job.is_open(asked) && job.ended().is_none();
    for job in campaign.history().jobs.iter_mut().filter(affected) {
        job.evicted = Some(Eviction { asked, confirmed: false });
    }
    let tainted = cluster.kubectl(["taint", "node", node, TAINT]).await;
    if tainted.is_ok() {
        confirm(&mut campaign.history(), asked);
        sleep(duration).await;
    }
    persist(async || {
        let lifted = cluster.kubectl(["taint", "node", node, &format!("{TAINT}-")]).await;
        match lifted {
            Err(error) if format!("{error:#}").contains("not found") => Ok(()),
            lifted => Ok(lifted.map(drop)?),
        }
    })
    .await;
    open(campaign, node);
    tainted.map(drop).context("tainting the node")
}

/// A pod without a node is not evicted.
fn confirm(history: &mut History, asked: CampaignTime) {
    let bound = history.jobs.iter_mut().filter(|job| job.bound.is_some());
    for eviction in bound.filter_map(|job| job.evicted.as_mut()).filter(|eviction| eviction.asked == asked) {
        eviction.confirmed = true;
    }
}

/// Cordons the node and evicts its workers, as `kubectl drain` does.
pub(super) async fn drain(campaign: &Campaign, node: &str, duration: Duration) -> anyhow::Result<()> {
    let cluster = &campaign.environment.cluster;
    shut(campaign, node);
    let drained = async {
        cluster.kubectl(["cordon", node]).await.context("cordoning the node")?;
        evict_all(campaign, node).await
    }
    .await;
    if drained.is_ok() {
        sleep(duration).await;
    }
    persist(async || Ok(cluster.kubectl(["uncordon", node]).await?)).await;
    open(campaign, node);
    drained
}

async fn evict_all(campaign: &Campaign, node: &str) -> anyhow::Result<()> {
    let pods = Api::<Pod>::namespaced(campaign.environment.client.clone(), campaign.namespace());
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    for pod in pods.list(&on_node).await.context("listing the pods of the node")? {
        let Some(job) = pod.labels().get(label::JOB_NAME) else { continue };
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed")) {
            continue;
        }
        campaign.record(job, "its pod is to be evicted", |job, now| {
            job.evicted = Some(Eviction { asked: now, confirmed: false });
        });
        match pods.evict(&pod.name_any(), &EvictParams::default()).await {
            Ok(_) => campaign.record(job, "its pod was evicted", |job, _| {
                job.evicted = job.evicted.map(|eviction| Eviction { confirmed: true, ..eviction });
            }),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error).context("evicting a pod"),
        }
    }
    Ok(())
}

fn shut(campaign: &Campaign, node: &str) {
    let now = campaign.now();
    campaign.history().node(node).closed.push(Span::open(now));
}

fn open(campaign: &Campaign, node: &str) {
    let now = campaign.now();
    close(campaign.history().node(node).closed.last_mut(), now);
}
