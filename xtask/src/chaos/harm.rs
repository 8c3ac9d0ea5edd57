//! Does what was drawn, undoes it in time, and writes down the truth about it.

mod cluster;
mod jobs;
mod nodes;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use jobwarden_tests::install::HOME;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use super::campaign::{Campaign, Worker};
use super::history::{At, Condition, Span};
use super::plan::{ClusterFault, Draw, Fault, NodeFault};

/// How long a node is left alone after a fault.
const REST: Duration = Duration::from_secs(15);
/// How long to wait before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// What stands for the cluster among what is being harmed.
const CLUSTER: &str = "cluster";

/// Who does harm.
pub(super) struct Harm {
    campaign: Arc<Campaign>,
    /// What is being harmed, or has yet to recover.
    busy: Arc<Mutex<BTreeSet<String>>>,
    tasks: FuturesUnordered<LocalBoxFuture<'static, ()>>,
}

impl Harm {
    pub(super) fn new(campaign: Arc<Campaign>) -> Self {
        Self { campaign, busy: Arc::default(), tasks: FuturesUnordered::new() }
    }

    /// Does faults one after the other, for ever.
    pub(super) async fn run(&mut self, draws: impl Iterator<Item = Draw>) {
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
                self.campaign.say(format!("passed over, for what it is about is harmed already: {fault:?}"));
            }
        }
    }

    /// Waits until all that was done is undone.
    pub(super) async fn recover(&mut self) {
        while self.tasks.next().await.is_some() {}
    }

    fn begin(&mut self, fault: Fault, pick: usize) -> bool {
        let names = self.campaign.ground.cluster.node_names();
        let nodes: Vec<_> = names.iter().filter(|node| *node != HOME).cloned().collect();
        let campaign = Arc::clone(&self.campaign);
        match fault {
            Fault::Node(fault, lasting) => {
                let node = nodes[pick % nodes.len()].clone();
                // Without its agent nobody can tell how a worker ends without a kubelet or runtime.
                let alone = matches!(fault, NodeFault::StopKubelet | NodeFault::FreezeRuntime);
                if alone && self.is_busy(CLUSTER) {
                    return false;
                }
                self.spawn(vec![node.clone()], async move {
                    nodes::harm(&campaign, &node, fault, lasting, pick)
                        .await
                        .with_context(|| format!("{fault:?} {node}"))
                })
            }
            Fault::Job(fault, lasting) => {
                let Some((job, worker)) = pick_worker(&campaign, None, pick) else { return false };
                self.spawn(vec![job.clone()], async move {
                    jobs::harm(&campaign, &job, &worker, fault, lasting)
                        .await
                        .with_context(|| format!("{fault:?} {job}"))
                })
            }
            Fault::Cluster(fault, lasting) => {
                let agentless = fault == ClusterFault::RemoveAgents && nodes.iter().any(|node| self.is_busy(node));
                let all = if fault == ClusterFault::Storm { nodes } else { vec![CLUSTER.to_owned()] };
                !agentless
                    && self.spawn(all, async move {
                        cluster::harm(&campaign, fault, lasting).await.with_context(|| format!("{fault:?}"))
                    })
            }
        }
    }

    fn is_busy(&self, what: &str) -> bool {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).contains(what)
    }

    /// Does `harm` to what is not being harmed already.
    fn spawn(&mut self, what: Vec<String>, harm: impl Future<Output = anyhow::Result<()>> + 'static) -> bool {
        let busy = Arc::clone(&self.busy);
        {
            let mut busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
            if what.iter().any(|it| busy.contains(it)) {
                return false;
            }
            busy.extend(what.iter().cloned());
        }
        self.campaign.history().faults += 1;
        let campaign = Arc::clone(&self.campaign);
        self.tasks.push(Box::pin(async move {
            if let Err(error) = harm.await {
                // As it may be while the API server is away; what was done up to there is in the history.
                campaign.say(format!("not all of it could be done: {error:#}"));
            }
            let mut busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.retain(|it| !what.contains(it));
        }));
        true
    }
}

/// A Job whose worker runs, on this node or anywhere.
fn pick_worker(campaign: &Campaign, node: Option<&str>, pick: usize) -> Option<(String, Worker)> {
    let history = campaign.history();
    let now = campaign.now();
    let fit: Vec<_> = campaign
        .workers()
        .iter()
        .filter(|(name, _)| {
            history.jobs.iter().find(|job| job.name == **name).is_some_and(|job| match node {
                Some(node) => job.node == node,
                None => {
                    history.nodes.get(&job.node).is_some_and(|node| node.at(now) == Condition::Well)
                        && job.deleted.is_none()
                        && !job.is_suspended()
                }
            })
        })
        .map(|(name, worker)| (name.clone(), worker.clone()))
        .collect();
    (!fit.is_empty()).then(|| fit[pick % fit.len()].clone())
}

fn kill(campaign: &Campaign, job: &str, worker: &Worker) -> anyhow::Result<()> {
    campaign.note(job, "its worker was killed", |_, _| {});
    Ok(worker.process.signal(Signal::SIGKILL)?)
}

fn end(span: Option<&mut Span>, at: At) {
    if let Some(span) = span {
        span.until = Some(at);
    }
}

/// Does what undoes harm, until the API server takes it.
async fn persist<T>(mut undo: impl AsyncFnMut() -> anyhow::Result<T>) -> T {
    loop {
        match undo().await {
            Ok(done) => return done,
            Err(_) => sleep(AGAIN).await,
        }
    }
}
