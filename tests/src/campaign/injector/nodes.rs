//! Faults of one node.

use std::time::Duration;

use anyhow::Context as _;
use jobwarden_common::names::port;
use jobwarden_testbed::Traffic;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::DeleteParams;
use tokio::time::{sleep, timeout};

use super::evictions;
use super::recovery::{REST, until_ready};
use super::targets::{kill, pick_worker};
use crate::campaign::fault_plan::NodeFault;
use crate::campaign::history::{Condition, Span, close};
use crate::campaign::state::Campaign;

/// How long a node may take to report that it has booted: the API server may be away for a minute meanwhile.
const BOOT: Duration = Duration::from_mins(4);
/// The time between two looks at its boot ID.
const POLL: Duration = Duration::from_secs(1);

pub(super) async fn inject(
    campaign: &Campaign,
    node: &str,
    fault: NodeFault,
    duration: Duration,
    pick: usize,
) -> anyhow::Result<()> {
    let cluster = &campaign.environment.cluster;
    let workers = campaign.workers_on(node);
    campaign.announce(Some(node), format!("{node}: {fault:?} for {} s, with {workers} workers", duration.as_secs()));
    match fault {
        NodeFault::Crash | NodeFault::DenseCrash | NodeFault::Reboot => {
            let before = boot_id(campaign, node).await;
            power_cut(campaign, node).await?;
            sleep(duration).await;
            boot(campaign, node, before).await?;
        }
        NodeFault::CrashAndDelete => {
            let before = boot_id(campaign, node).await;
            power_cut(campaign, node).await?;
            if let Err(error) = delete_node(campaign, node).await {
                campaign.print(format!("cannot delete the Node object of {node}: {error:#}"));
            }
            sleep(duration).await;
            boot(campaign, node, before).await?;
        }
        NodeFault::Partition => {
            campaign.set_condition(node, Condition::CutOff);
            cluster.partition(node).await?;
            sleep(duration).await;
            cluster.heal(node).await?;
            campaign.set_condition(node, Condition::Recovering);
        }
        NodeFault::StopKubelet => {
            campaign.set_condition(node, Condition::NoKubelet);
            cluster.stop_kubelet(node).await?;
            kill_one(campaign, node, pick).await?;
            sleep(duration).await;
            campaign.set_condition(node, Condition::Recovering);
            cluster.start_kubelet(node).await?;
        }
        NodeFault::FreezeRuntime => {
            campaign.set_condition(node, Condition::Frozen);
            cluster.freeze_runtime(node).await?;
            kill_one(campaign, node, pick).await?;
            sleep(duration).await;
            campaign.set_condition(node, Condition::Recovering);
            cluster.thaw_runtime(node).await?;
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
        NodeFault::Taint => evictions::taint(campaign, node, duration).await?,
        NodeFault::Drain => evictions::drain(campaign, node, duration).await?,
    }
    until_ready(campaign, node).await?;
    if campaign.history().node(node).condition_at(campaign.now()) != Condition::Healthy {
        campaign.set_condition(node, Condition::Healthy);
    }
    campaign.announce(Some(node), format!("{node} is healthy again"));
    sleep(REST).await;
    Ok(())
}

async fn power_cut(campaign: &Campaign, node: &str) -> anyhow::Result<()> {
    campaign.set_condition(node, Condition::CutOff);
    let now = campaign.now();
    campaign.history().node(node).crashes.push(now);
    Ok(campaign.environment.cluster.crash(node).await?)
}

/// Boots the node, and waits until its kubelet has reported that: until then Kubernetes has the state of before the crash, and may
/// still call the node ready.
async fn boot(campaign: &Campaign, node: &str, before: Option<String>) -> anyhow::Result<()> {
    campaign.set_condition(node, Condition::Recovering);
    let now = campaign.now();
    campaign.history().node(node).boots.push(now);
    campaign.environment.cluster.start_node(node).await?;
    let reported = async {
        while boot_id(campaign, node).await.is_none_or(|id| Some(id) == before) {
            sleep(POLL).await;
        }
    };
    if timeout(BOOT, reported).await.is_err() {
        campaign.announce(Some(node), format!("{node} has not reported a new boot ID after {BOOT:?}"));
    }
    Ok(())
}

/// The boot ID that the kubelet has reported, if the API server answers and has the node.
async fn boot_id(campaign: &Campaign, node: &str) -> Option<String> {
    let nodes = Api::<Node>::all(campaign.environment.client.clone());
    Some(nodes.get_opt(node).await.ok()??.status?.node_info?.boot_id)
}

/// Kills a worker that neither the kubelet nor its runtime can watch any more.
async fn kill_one(campaign: &Campaign, node: &str, pick: usize) -> anyhow::Result<()> {
    sleep(Duration::from_secs(2)).await;
    pick_worker(campaign, Some(node), pick).map_or(Ok(()), |(job, worker)| kill(campaign, &job, &worker))
}

async fn delete_node(campaign: &Campaign, node: &str) -> anyhow::Result<()> {
    let nodes = Api::<Node>::all(campaign.environment.client.clone());
    let from = campaign.now();
    nodes.delete(node, &DeleteParams::default()).await.context("deleting the node")?;
    campaign.history().node(node).deleted.push(Span::open(from));
    Ok(())
}
