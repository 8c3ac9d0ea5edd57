//! Injects the drawn faults, undoes them in time, and records the truth about them.

mod cluster;
mod evictions;
mod jobs;
mod nodes;
mod recovery;
mod targets;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::fault_plan::{ClusterFault, Draw, Fault, NodeFault};
use super::state::Campaign;
use crate::install::HOME;

/// Stands for the control plane and jobwarden among the busy targets.
const CLUSTER: &str = "cluster";
/// Stands for the reaper's right to write.
const WRITES: &str = "writes";

/// Injects faults.
pub(crate) struct Injector {
    campaign: Arc<Campaign>,
    /// The targets that have a fault or are still recovering.
    busy: Arc<Mutex<BTreeSet<String>>>,
    /// A fault of all nodes, which waits until none of them has another fault. Until then no node gets a new one.
    storm: Option<Duration>,
    tasks: FuturesUnordered<LocalBoxFuture<'static, ()>>,
}

impl Injector {
    pub(crate) fn new(campaign: Arc<Campaign>) -> Self {
        Self { campaign, busy: Arc::default(), storm: None, tasks: FuturesUnordered::new() }
    }

    /// Injects fault after fault, without end.
    pub(crate) async fn run(&mut self, draws: impl Iterator<Item = Draw>) {
        let mut at = Instant::now();
        for Draw { after, fault, pick } in draws {
            at += after;
            loop {
                tokio::select! {
                    () = sleep_until(at) => break,
                    Some(()) = self.tasks.next() => self.begin_storm(),
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
        match fault {
            Fault::Node(fault, duration) => self.begin_on_node(fault, duration, pick),
            Fault::Job(fault, duration) => {
                let Some((job, worker)) = targets::pick_worker(&self.campaign, None, pick) else { return false };
                let campaign = Arc::clone(&self.campaign);
                self.spawn(vec![job.clone()], async move {
                    jobs::inject(&campaign, &job, &worker, fault, duration)
                        .await
                        .with_context(|| format!("{fault:?} {job}"))
                })
            }
            Fault::Cluster(ClusterFault::Storm, duration) => {
                self.storm.get_or_insert(duration);
                self.begin_storm();
                true
            }
            Fault::Cluster(fault, duration) => {
                let needs_nodes = fault == ClusterFault::RemoveAgents;
                if needs_nodes && self.nodes().iter().any(|node| self.is_busy(node)) {
                    return false;
                }
                let target = if matches!(fault, ClusterFault::RefuseWrites(_)) { WRITES } else { CLUSTER };
                self.spawn_on_cluster(vec![target.to_owned()], fault, duration)
            }
        }
    }

    /// A fault of a node that has none.
    fn begin_on_node(&mut self, fault: NodeFault, duration: Duration, pick: usize) -> bool {
        // Without kubelet or runtime, only the agent can observe how a worker ends.
        let needs_agent = matches!(fault, NodeFault::StopKubelet | NodeFault::FreezeRuntime);
        if self.storm.is_some() || (needs_agent && self.is_busy(CLUSTER)) {
            return false;
        }
        let free: Vec<_> = self.nodes().into_iter().filter(|node| !self.is_busy(node)).collect();
        let densest = free.iter().max_by_key(|node| self.campaign.workers_on(node));
        let picked = if fault == NodeFault::DenseCrash { densest } else { free.get(pick % free.len().max(1)) };
        let Some(node) = picked.cloned() else { return false };
        let campaign = Arc::clone(&self.campaign);
        self.spawn(vec![node.clone()], async move {
            nodes::inject(&campaign, &node, fault, duration, pick).await.with_context(|| format!("{fault:?} {node}"))
        })
    }

    /// Starts the storm that waits, if no node has a fault any more.
    fn begin_storm(&mut self) {
        let Some(duration) = self.storm else { return };
        if self.spawn_on_cluster(self.nodes(), ClusterFault::Storm, duration) {
            self.storm = None;
        }
    }

    fn spawn_on_cluster(&mut self, targets: Vec<String>, fault: ClusterFault, duration: Duration) -> bool {
        let campaign = Arc::clone(&self.campaign);
        self.spawn(targets, async move {
            cluster::inject(&campaign, fault, duration).await.with_context(|| format!("{fault:?}"))
        })
    }

    /// The nodes that faults may damage.
    fn nodes(&self) -> Vec<String> {
        self.campaign.environment.cluster.node_names().into_iter().filter(|node| node != HOME).collect()
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
