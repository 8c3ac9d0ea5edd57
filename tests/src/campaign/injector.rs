//! Injects the drawn faults, undoes them in time, and records the truth about them.

mod cluster;
mod jobs;
mod nodes;
mod recovery;
mod targets;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use futures::StreamExt as _;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::fault_plan::{ClusterFault, Draw, Fault, NodeFault};
use super::state::Campaign;
use crate::install::HOME;

/// Stands for the cluster among the busy targets.
const CLUSTER: &str = "cluster";

/// Injects faults.
pub(crate) struct Injector {
    campaign: Arc<Campaign>,
    /// The targets that have a fault or are still recovering.
    busy: Arc<Mutex<BTreeSet<String>>>,
    tasks: FuturesUnordered<LocalBoxFuture<'static, ()>>,
}

impl Injector {
    pub(crate) fn new(campaign: Arc<Campaign>) -> Self {
        Self { campaign, busy: Arc::default(), tasks: FuturesUnordered::new() }
    }

    /// Injects fault after fault, without end.
    pub(crate) async fn run(&mut self, draws: impl Iterator<Item = Draw>) {
        let mut at = Instant::now();
        for Draw { after, fault, pick } in draws {
            at += after;
            loop {
                tokio::select! {
                    () = sleep_until(at) => break,
                    Some(()) = self.tasks.next() => {}
                }
            }
            if !self.begin(fault, pick) {
                self.campaign.print(format!("skipped, its target already has a fault: {fault:?}"));
            }
        }
    }

    /// Waits until every fault is undone.
    pub(crate) async fn recover(&mut self) {
        while self.tasks.next().await.is_some() {}
    }

    fn begin(&mut self, fault: Fault, pick: usize) -> bool {
        let names = self.campaign.environment.cluster.node_names();
        let nodes: Vec<_> = names.iter().filter(|node| *node != HOME).cloned().collect();
        let campaign = Arc::clone(&self.campaign);
        match fault {
            Fault::Node(fault, duration) => {
                let node = nodes[pick % nodes.len()].clone();
                // Without kubelet or runtime, only the agent can observe how a worker ends.
                let needs_agent = matches!(fault, NodeFault::StopKubelet | NodeFault::FreezeRuntime);
                if needs_agent && self.is_busy(CLUSTER) {
                    return false;
                }
                self.spawn(vec![node.clone()], async move {
                    nodes::inject(&campaign, &node, fault, duration, pick)
                        .await
                        .with_context(|| format!("{fault:?} {node}"))
                })
            }
            Fault::Job(fault, duration) => {
                let Some((job, worker)) = targets::pick_worker(&campaign, None, pick) else { return false };
                self.spawn(vec![job.clone()], async move {
                    jobs::inject(&campaign, &job, &worker, fault, duration)
                        .await
                        .with_context(|| format!("{fault:?} {job}"))
                })
            }
            Fault::Cluster(fault, duration) => {
                let agents_needed = fault == ClusterFault::RemoveAgents && nodes.iter().any(|node| self.is_busy(node));
                let targets = if fault == ClusterFault::Storm { nodes } else { vec![CLUSTER.to_owned()] };
                !agents_needed
                    && self.spawn(targets, async move {
                        cluster::inject(&campaign, fault, duration).await.with_context(|| format!("{fault:?}"))
                    })
            }
        }
    }

    fn is_busy(&self, target: &str) -> bool {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).contains(target)
    }

    /// Starts a fault unless one of its targets is busy. Returns whether it has started.
    fn spawn(&mut self, targets: Vec<String>, inject: impl Future<Output = anyhow::Result<()>> + 'static) -> bool {
        let busy = Arc::clone(&self.busy);
        {
            let mut busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
            if targets.iter().any(|target| busy.contains(target)) {
                return false;
            }
            busy.extend(targets.iter().cloned());
        }
        self.campaign.history().faults += 1;
        let campaign = Arc::clone(&self.campaign);
        self.tasks.push(Box::pin(async move {
            if let Err(error) = inject.await {
                // The API server may be down. The history has what was done until then.
                campaign.print(format!("a fault was injected only in part: {error:#}"));
            }
            let mut busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.retain(|target| !targets.contains(target));
        }));
        true
    }
}
