//! Faults of the control plane, of jobwarden, or of all nodes at once.

use std::time::Duration;

use jobwarden_testbed::Cluster;
use tokio::time::sleep;

use super::recovery::{NODE_READY, REST, persist};
use crate::campaign::fault_plan::ClusterFault;
use crate::campaign::history::{Condition, History, JobHistory, Span, close};
use crate::campaign::state::Campaign;
use crate::install::HOME;
use crate::reaper_api::Guards;
use crate::{faults, reaper_api};

/// How long to wait for a leader that receives signals.
const LEADER: Duration = Duration::from_mins(2);

pub(super) async fn inject(campaign: &Campaign, fault: ClusterFault, duration: Duration) -> anyhow::Result<()> {
    let cluster = &campaign.environment.cluster;
    campaign.print(format!("cluster: {fault:?} for {} s", duration.as_secs()));
    if fault == ClusterFault::Storm {
        return storm(campaign, duration).await;
    }
    let from = campaign.now();
    if fault == ClusterFault::RemoveAgents {
        campaign.history().agentless.push(Span::open(from));
    } else {
        campaign.history().disruptions.push(Span::open(from));
    }
    let done = disrupt(cluster, fault, duration).await;
    let until = campaign.now();
    {
        let mut history = campaign.history();
        let History { agentless, disruptions, .. } = &mut *history;
        close(agentless.iter_mut().chain(disruptions).find(|span| span.from == from), until);
    }
    wait_for_leader(campaign).await;
    campaign.print(format!("cluster: {fault:?} is over; a leader receives signals and may act"));
    sleep(REST).await;
    done
}

async fn disrupt(cluster: &Cluster, fault: ClusterFault, duration: Duration) -> anyhow::Result<()> {
    match fault {
        ClusterFault::StopApiServer => {
            cluster.stop_api_server().await?;
            sleep(duration).await;
            cluster.start_api_server().await?;
        }
        ClusterFault::RestartEtcd => cluster.restart_etcd().await?,
        ClusterFault::KillLeader => faults::kill_leader(cluster).await?,
        ClusterFault::StopReapers => {
            let stopped = faults::scale_reapers(cluster, 0).await;
            sleep(duration).await;
            persist(async || faults::scale_reapers(cluster, 2).await).await;
            stopped?;
        }
        ClusterFault::RemoveAgents => {
            let removed = faults::run_agents(cluster, false).await;
            sleep(duration).await;
            persist(async || faults::run_agents(cluster, true).await).await;
            removed?;
        }
        ClusterFault::Storm => {}
    }
    Ok(())
}

/// Waits, with a timeout, until a leader receives signals and has done so for lost-after.
async fn wait_for_leader(campaign: &Campaign) {
    let led = async {
        loop {
            sleep(Duration::from_secs(1)).await;
            let guards = reaper_api::guards(&campaign.environment.client).await;
            let acts = |guards: &Guards| {
                guards.receives_signals() && Duration::from_secs(guards.listening_seconds) > campaign.lost_after
            };
            if guards.is_ok_and(|guards| acts(&guards)) {
                return;
            }
        }
    };
    if tokio::time::timeout(LEADER, led).await.is_err() {
        campaign.print(format!("no leader may act yet, {LEADER:?} after the fault was undone"));
    }
}

async fn storm(campaign: &Campaign, duration: Duration) -> anyhow::Result<()> {
    let cluster = &campaign.environment.cluster;
    let nodes: Vec<_> = cluster.node_names().into_iter().filter(|node| node != HOME).collect();
    let from = campaign.now();
    let silent = {
        let mut history = campaign.history();
        let workers = campaign.workers();
        let affected = |job: &&JobHistory| nodes.contains(&job.node) && workers.contains_key(&job.name);
        let silent = history.jobs.iter().filter(affected).count();
        history.storms.push((Span::open(from), silent));
        silent
    };
    campaign.print(format!("storm: {silent} workers go silent at once"));
    for node in &nodes {
        campaign.set_condition(node, Condition::CutOff);
        cluster.partition(node).await?;
    }
    sleep(duration).await;
    for node in &nodes {
        cluster.heal(node).await?;
        campaign.set_condition(node, Condition::Recovering);
    }
    let until = campaign.now();
    close(campaign.history().storms.last_mut().map(|(span, _)| span), until);
    for node in &nodes {
        cluster.wait_for_node(node, true, NODE_READY).await?;
        campaign.set_condition(node, Condition::Healthy);
    }
    campaign.print("the storm is over");
    sleep(REST).await;
    Ok(())
}
