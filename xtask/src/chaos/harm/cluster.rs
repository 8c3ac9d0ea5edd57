//! Harm to the control plane, to jobwarden, or to all nodes at once.

use std::time::Duration;

use jobwarden_tests::cluster::Cluster;
use jobwarden_tests::install::HOME;
use jobwarden_tests::{harm, reaper};
use tokio::time::sleep;

use super::{REST, end, persist};
use crate::chaos::campaign::Campaign;
use crate::chaos::history::{Condition, History, JobHistory, Span};
use crate::chaos::plan::ClusterFault;

/// How long to wait for a leader that hears.
const LEADER: Duration = Duration::from_mins(2);
/// How long a node may take to be ready again.
const NODE_READY: Duration = Duration::from_mins(3);

pub(super) async fn harm(campaign: &Campaign, fault: ClusterFault, lasting: Duration) -> anyhow::Result<()> {
    let cluster = &campaign.ground.cluster;
    campaign.say(format!("cluster: {fault:?} for {} s", lasting.as_secs()));
    if fault == ClusterFault::Storm {
        return storm(campaign, lasting).await;
    }
    let from = campaign.now();
    if fault == ClusterFault::RemoveAgents {
        campaign.history().agentless.push(Span::since(from));
    } else {
        campaign.history().upheavals.push(Span::since(from));
    }
    let done = to_its_parts(cluster, fault, lasting).await;
    let until = campaign.now();
    {
        let mut history = campaign.history();
        let History { agentless, upheavals, .. } = &mut *history;
        end(agentless.iter_mut().chain(upheavals).find(|span| span.from == from), until);
    }
    until_led(campaign).await;
    campaign.say(format!("cluster: {fault:?} is over, and a leader hears and may act"));
    sleep(REST).await;
    done
}

async fn to_its_parts(cluster: &Cluster, fault: ClusterFault, lasting: Duration) -> anyhow::Result<()> {
    match fault {
        ClusterFault::StopApiServer => {
            cluster.stop_api_server().await?;
            sleep(lasting).await;
            cluster.start_api_server().await?;
        }
        ClusterFault::RestartEtcd => cluster.restart_etcd().await?,
        ClusterFault::KillLeader => harm::kill_leader(cluster).await?,
        ClusterFault::StopReapers => {
            let stopped = harm::scale_reapers(cluster, 0).await;
            sleep(lasting).await;
            persist(async || harm::scale_reapers(cluster, 2).await).await;
            stopped?;
        }
        ClusterFault::RemoveAgents => {
            let removed = harm::run_agents(cluster, false).await;
            sleep(lasting).await;
            persist(async || harm::run_agents(cluster, true).await).await;
            removed?;
        }
        ClusterFault::Storm => {}
    }
    Ok(())
}

/// Waits until a leader hears and has listened for lost-after, for a while.
async fn until_led(campaign: &Campaign) {
    let led = async {
        loop {
            sleep(Duration::from_secs(1)).await;
            let guards = reaper::guards(&campaign.ground.client).await;
            let acts = |guards: &reaper::Guards| {
                guards.ears == "open" && Duration::from_secs(guards.listening_seconds) > campaign.lost_after
            };
            if guards.is_ok_and(|guards| acts(&guards)) {
                return;
            }
        }
    };
    if tokio::time::timeout(LEADER, led).await.is_err() {
        campaign.say(format!("no leader acts although there was nothing to hinder one for {LEADER:?}"));
    }
}

async fn storm(campaign: &Campaign, lasting: Duration) -> anyhow::Result<()> {
    let cluster = &campaign.ground.cluster;
    let nodes: Vec<_> = cluster.node_names().into_iter().filter(|node| node != HOME).collect();
    let from = campaign.now();
    let silent = {
        let mut history = campaign.history();
        let workers = campaign.workers();
        let on_them = |job: &&JobHistory| nodes.contains(&job.node) && workers.contains_key(&job.name);
        let silent = history.jobs.iter().filter(on_them).count();
        history.storms.push((Span::since(from), silent));
        silent
    };
    campaign.say(format!("{silent} workers fall silent at once"));
    for node in &nodes {
        campaign.becomes(node, Condition::Cut);
        cluster.partition(node).await?;
    }
    sleep(lasting).await;
    for node in &nodes {
        cluster.heal(node).await?;
        campaign.becomes(node, Condition::Recovering);
    }
    let until = campaign.now();
    end(campaign.history().storms.last_mut().map(|(span, _)| span), until);
    for node in &nodes {
        cluster.wait_for_node(node, true, NODE_READY).await?;
        campaign.becomes(node, Condition::Well);
    }
    campaign.say("the storm is over");
    sleep(REST).await;
    Ok(())
}
