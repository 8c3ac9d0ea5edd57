//! Faults of one node.

use std::time::Duration;

use anyhow::Context as _;
use jobwarden_common::names::port;
use jobwarden_testbed::Traffic;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::DeleteParams;
use tokio::time::sleep;

use super::recovery::{NODE_READY, REST, persist};
use super::targets::{kill, pick_worker};
use crate::campaign::fault_plan::NodeFault;
use crate::campaign::history::{Condition, JobHistory, Span, close};
use crate::campaign::state::Campaign;

pub(super) async fn inject(
    campaign: &Campaign,
    node: &str,
    fault: NodeFault,
    duration: Duration,
    pick: usize,
) -> anyhow::Result<()> {
    let cluster = &campaign.environment.cluster;
    campaign.print(format!("{node}: {fault:?} for {} s", duration.as_secs()));
    match fault {
        NodeFault::Crash | NodeFault::CrashAndDelete => {
            campaign.set_condition(node, Condition::CutOff);
            cluster.crash(node).await?;
            if fault == NodeFault::CrashAndDelete
                && let Err(error) = delete_node(campaign, node).await
            {
                campaign.print(format!("cannot delete the Node object of {node}: {error:#}"));
            }
            sleep(duration).await;
            campaign.set_condition(node, Condition::Recovering);
            cluster.start_node(node).await?;
        }
        NodeFault::Partition => {
            campaign.set_condition(node, Condition::CutOff);
            cluster.partition(node).await?;
            sleep(duration).await;
            cluster.heal(node).await?;
            campaign.set_condition(node, Condition::Recovering);
        }
        NodeFault::StopKubelet | NodeFault::FreezeRuntime => {
            let frozen = fault == NodeFault::FreezeRuntime;
            campaign.set_condition(node, if frozen { Condition::Frozen } else { Condition::NoKubelet });
            if frozen {
                cluster.freeze_runtime(node).await?;
            } else {
                cluster.stop_kubelet(node).await?;
            }
            sleep(Duration::from_secs(2)).await;
            if let Some((job, worker)) = pick_worker(campaign, Some(node), pick) {
                kill(campaign, &job, &worker)?;
            }
            sleep(duration).await;
            campaign.set_condition(node, Condition::Recovering);
            if frozen { cluster.thaw_runtime(node).await? } else { cluster.start_kubelet(node).await? }
        }
        NodeFault::BlockReaper => {
            let from = campaign.now();
            campaign.history().node(node).blocked.push(Span::open(from));
            cluster.block(node, Traffic::ToPort(port::REAPER)).await?;
            sleep(duration).await;
            cluster.unblock(node, Traffic::ToPort(port::REAPER)).await?;
            let until = campaign.now();
            close(campaign.history().node(node).blocked.last_mut(), until);
        }
        NodeFault::Taint => return evict(campaign, node, duration).await,
    }
    cluster.wait_for_node(node, true, NODE_READY).await?;
    if campaign.history().node(node).condition_at(campaign.now()) != Condition::Healthy {
        campaign.set_condition(node, Condition::Healthy);
    }
    campaign.print(format!("{node} is healthy again"));
    sleep(REST).await;
    Ok(())
}

async fn delete_node(campaign: &Campaign, node: &str) -> anyhow::Result<()> {
    let nodes = Api::<Node>::all(campaign.environment.client.clone());
    let from = campaign.now();
    nodes.delete(node, &DeleteParams::default()).await.context("deleting the node")?;
    campaign.history().node(node).deleted.push(Span::open(from));
    Ok(())
}

async fn evict(campaign: &Campaign, node: &str, duration: Duration) -> anyhow::Result<()> {
    let (cluster, taint) = (&campaign.environment.cluster, "chaos=yes:NoExecute");
    // Until the taint is gone, the campaign places no Job on the node.
    campaign.set_condition(node, Condition::Recovering);
    if let Err(error) = cluster.kubectl(["taint", "node", node, taint]).await {
        campaign.set_condition(node, Condition::Healthy);
        return Err(error).context("tainting the node");
    }
    let now = campaign.now();
    let affected = |job: &&mut JobHistory| job.node == node && job.ended.is_none();
    campaign.history().jobs.iter_mut().filter(affected).for_each(|job| job.evicted = Some(now));
    sleep(duration).await;
    persist(async || Ok(cluster.kubectl(["taint", "node", node, &format!("{taint}-")]).await?)).await;
    campaign.set_condition(node, Condition::Healthy);
    sleep(REST).await;
    Ok(())
}
