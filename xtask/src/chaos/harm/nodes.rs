//! Harm to a node.

use std::time::Duration;

use anyhow::Context as _;
use jobwarden_common::names::port;
use jobwarden_tests::cluster::Wall;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::DeleteParams;
use tokio::time::sleep;

use super::{REST, end, kill, persist, pick_worker};
use crate::chaos::campaign::Campaign;
use crate::chaos::history::{Condition, JobHistory, Span};
use crate::chaos::plan::NodeFault;

/// How long a node may take to be ready again.
const NODE_READY: Duration = Duration::from_mins(3);

pub(super) async fn harm(
    campaign: &Campaign,
    node: &str,
    fault: NodeFault,
    lasting: Duration,
    pick: usize,
) -> anyhow::Result<()> {
    let cluster = &campaign.ground.cluster;
    campaign.say(format!("{node}: {fault:?} for {} s", lasting.as_secs()));
    match fault {
        NodeFault::Crash | NodeFault::CrashAndDelete => {
            campaign.becomes(node, Condition::Cut);
            cluster.crash(node).await?;
            if fault == NodeFault::CrashAndDelete
                && let Err(error) = delete_node(campaign, node).await
            {
                campaign.say(format!("{node} keeps its object: {error:#}"));
            }
            sleep(lasting).await;
            campaign.becomes(node, Condition::Recovering);
            cluster.start_node(node).await?;
        }
        NodeFault::Partition => {
            campaign.becomes(node, Condition::Cut);
            cluster.partition(node).await?;
            sleep(lasting).await;
            cluster.heal(node).await?;
            campaign.becomes(node, Condition::Recovering);
        }
        NodeFault::StopKubelet | NodeFault::FreezeRuntime => {
            let frozen = fault == NodeFault::FreezeRuntime;
            campaign.becomes(node, if frozen { Condition::Frozen } else { Condition::NoKubelet });
            if frozen {
                cluster.freeze_runtime(node).await?;
            } else {
                cluster.stop_kubelet(node).await?;
            }
            sleep(Duration::from_secs(2)).await;
            if let Some((job, worker)) = pick_worker(campaign, Some(node), pick) {
                kill(campaign, &job, &worker)?;
            }
            sleep(lasting).await;
            campaign.becomes(node, Condition::Recovering);
            if frozen { cluster.thaw_runtime(node).await? } else { cluster.start_kubelet(node).await? }
        }
        NodeFault::Wall => {
            let from = campaign.now();
            campaign.history().node(node).walled.push(Span::since(from));
            cluster.raise(node, Wall::Port(port::REAPER)).await?;
            sleep(lasting).await;
            cluster.lower(node, Wall::Port(port::REAPER)).await?;
            let until = campaign.now();
            end(campaign.history().node(node).walled.last_mut(), until);
        }
        NodeFault::Taint => return evict(campaign, node, lasting).await,
    }
    cluster.wait_for_node(node, true, NODE_READY).await?;
    if campaign.history().node(node).at(campaign.now()) != Condition::Well {
        campaign.becomes(node, Condition::Well);
    }
    campaign.say(format!("{node} is well again"));
    sleep(REST).await;
    Ok(())
}

async fn delete_node(campaign: &Campaign, node: &str) -> anyhow::Result<()> {
    let nodes = Api::<Node>::all(campaign.ground.client.clone());
    let from = campaign.now();
    nodes.delete(node, &DeleteParams::default()).await.context("deleting the node")?;
    campaign.history().node(node).deleted.push(Span::since(from));
    Ok(())
}

async fn evict(campaign: &Campaign, node: &str, lasting: Duration) -> anyhow::Result<()> {
    let (cluster, taint) = (&campaign.ground.cluster, "chaos=yes:NoExecute");
    // No further Job is placed there.
    campaign.becomes(node, Condition::Recovering);
    if let Err(error) = cluster.kubectl(["taint", "node", node, taint]).await {
        campaign.becomes(node, Condition::Well);
        return Err(error).context("tainting the node");
    }
    let now = campaign.now();
    let on_it = |job: &&mut JobHistory| job.node == node && job.ended.is_none();
    campaign.history().jobs.iter_mut().filter(on_it).for_each(|job| job.evicted = Some(now));
    sleep(lasting).await;
    persist(async || Ok(cluster.kubectl(["taint", "node", node, &format!("{taint}-")]).await?)).await;
    campaign.becomes(node, Condition::Well);
    sleep(REST).await;
    Ok(())
}
