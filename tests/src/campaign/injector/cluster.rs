//! Faults of the control plane, of jobwarden, or of all nodes at once.

use std::time::Duration;

use jobwarden_testbed::Cluster;
use tokio::time::sleep;

use super::recovery::{REST, persist, until_ready};
use crate::campaign::domains;
use crate::campaign::fault_plan::ClusterFault;
use crate::campaign::history::{CampaignTime, Condition, History, Span, Storm, close};
use crate::campaign::state::Campaign;
use crate::faults::{self, Refusal};
use crate::install::HOME;
use crate::reaper_api;
use crate::reaper_api::Guards;

/// How long to wait for a leader that receives signals.
const LEADER: Duration = Duration::from_mins(2);

/// How long the API server may take until it applies or forgets a refusal.
const REFUSAL_APPLIES: Duration = Duration::from_secs(10);

pub(super) async fn inject(campaign: &Campaign, fault: ClusterFault, duration: Duration) -> anyhow::Result<()> {
    campaign.announce(None, format!("cluster: {fault:?} for {} s", duration.as_secs()));
    match fault {
        ClusterFault::Storm => storm(campaign, duration).await,
        ClusterFault::SkewClock(seconds) => skew_clock(campaign, seconds, duration).await,
        ClusterFault::RefuseWrites(refusal) => refuse_writes(campaign, refusal, duration).await,
        _ => {
            let done = disruption(campaign, fault, duration).await;
            wait_for_leader(campaign).await;
            campaign.announce(None, format!("cluster: {fault:?} is over; a leader receives signals and may act"));
            sleep(REST).await;
            done
        }
    }
}

async fn disruption(campaign: &Campaign, fault: ClusterFault, duration: Duration) -> anyhow::Result<()> {
    let from = campaign.now();
    if fault == ClusterFault::RemoveAgents {
        campaign.history().agentless.push(Span::open(from));
    } else {
        campaign.history().disruptions.push(Span::open(from));
    }
    let done = disrupt(&campaign.environment.cluster, fault, duration).await;
    end_disruption(campaign, from);
    done
}

fn end_disruption(campaign: &Campaign, from: CampaignTime) {
    let until = campaign.now();
    let mut history = campaign.history();
    let History { agentless, disruptions, .. } = &mut *history;
    close(agentless.iter_mut().chain(disruptions).find(|span| span.from == from), until);
}

/// Replaces the reapers by ones on a host with another clock, and back. Only the two replacements are a disruption: in between
/// nothing may differ.
async fn skew_clock(campaign: &Campaign, seconds: i64, duration: Duration) -> anyhow::Result<()> {
    let cluster = &campaign.environment.cluster;
    let replace = async |seconds: i64| {
        let from = campaign.now();
        campaign.history().disruptions.push(Span::open(from));
        let replaced = faults::skew_clock(cluster, seconds).await;
        if replaced.is_err() && seconds == 0 {
            persist(async || faults::skew_clock(cluster, 0).await).await;
        }
        end_disruption(campaign, from);
        wait_for_leader(campaign).await;
        replaced
    };
    let skewed = replace(seconds).await;
    campaign.announce(None, format!("cluster: the clock of the reapers is wrong by {seconds} s"));
    sleep(duration).await;
    let restored = replace(0).await;
    campaign.announce(None, "cluster: the clock of the reapers is right again");
    sleep(REST).await;
    skewed.and(restored)
}

async fn refuse_writes(campaign: &Campaign, refusal: Refusal, duration: Duration) -> anyhow::Result<()> {
    let (cluster, namespace) = (&campaign.environment.cluster, campaign.namespace());
    let from = campaign.now();
    campaign.history().refusals.push(Span::open(from));
    let refused = faults::refuse_writes(cluster, refusal, namespace).await;
    sleep(duration).await;
    persist(async || faults::allow_writes(cluster, refusal, namespace).await).await;
    campaign.announce(None, format!("cluster: writes are no longer refused {refusal:?}"));
    sleep(REFUSAL_APPLIES).await;
    let until = campaign.now();
    close(campaign.history().refusals.last_mut(), until);
    sleep(REST).await;
    refused
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
        ClusterFault::Storm | ClusterFault::SkewClock(_) | ClusterFault::RefuseWrites(_) => {}
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
    let carrying = domains::carrying(&campaign.history(), from);
    let silent = nodes.iter().filter(|node| campaign.workers_on(node) > 0).count();
    campaign.history().storms.push(Storm { span: Span::open(from), silent, carrying });
    campaign.announce(None, format!("storm: {silent} of the {carrying} nodes with workers go silent at once"));
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
    close(campaign.history().storms.last_mut().map(|storm| &mut storm.span), until);
    for node in &nodes {
        until_ready(campaign, node).await?;
        campaign.set_condition(node, Condition::Healthy);
    }
    campaign.announce(None, "the storm is over");
    sleep(REST).await;
    Ok(())
}
