//! Does what was drawn, undoes it in time, and writes down the truth about it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use jobwarden_common::names::{SIDECAR_CONTAINER, port};
use jobwarden_tests::cluster::Wall;
use jobwarden_tests::install::HOME;
use jobwarden_tests::{harm, reaper};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use super::campaign::{Campaign, Worker};
use super::fleet;
use super::history::{At, Condition, Span};
use super::plan::{ClusterFault, Draw, Fault, JobFault, NodeFault};

/// How long a node may take to be ready again.
const NODE_READY: Duration = Duration::from_mins(3);
/// How long a node is left alone after a fault.
const REST: Duration = Duration::from_secs(15);
/// How long to wait for a leader that hears.
const LEADER: Duration = Duration::from_mins(2);
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
                    on_node(&campaign, &node, fault, lasting, pick).await.with_context(|| format!("{fault:?} {node}"))
                })
            }
            Fault::Job(fault, lasting) => {
                let Some((job, worker)) = pick_worker(&campaign, None, pick) else { return false };
                self.spawn(vec![job.clone()], async move {
                    on_job(&campaign, &job, &worker, fault, lasting).await.with_context(|| format!("{fault:?} {job}"))
                })
            }
            Fault::Cluster(fault, lasting) => {
                let agentless = fault == ClusterFault::RemoveAgents && nodes.iter().any(|node| self.is_busy(node));
                let all = if fault == ClusterFault::Storm { nodes } else { vec![CLUSTER.to_owned()] };
                !agentless
                    && self.spawn(all, async move {
                        on_cluster(&campaign, fault, lasting).await.with_context(|| format!("{fault:?}"))
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

async fn on_node(
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
            if fault == NodeFault::CrashAndDelete {
                delete_node(campaign, node).await?;
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
                cluster.freeze_runtime(node).await?
            } else {
                cluster.stop_kubelet(node).await?
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
    cluster.kubectl(["taint", "node", node, taint]).await?;
    let now = campaign.now();
    let on_it = |job: &&mut super::history::JobHistory| job.node == node && job.ended.is_none();
    campaign.history().jobs.iter_mut().filter(on_it).for_each(|job| job.evicted = Some(now));
    sleep(lasting).await;
    cluster.kubectl(["taint", "node", node, &format!("{taint}-")]).await?;
    campaign.becomes(node, Condition::Well);
    sleep(REST).await;
    Ok(())
}

fn end(span: Option<&mut Span>, at: At) {
    if let Some(span) = span {
        span.until = Some(at);
    }
}

async fn on_job(
    campaign: &Arc<Campaign>,
    job: &str,
    worker: &Worker,
    fault: JobFault,
    lasting: Duration,
) -> anyhow::Result<()> {
    let cluster = &campaign.ground.cluster;
    campaign.say(format!("{job}: {fault:?}"));
    let jobs = Api::<Job>::namespaced(campaign.ground.client.clone(), campaign.namespace());
    match fault {
        JobFault::KillWorker => kill(campaign, job, worker),
        JobFault::KillSidecar => {
            campaign.note(job, "its sidecar was killed", |_, _| {});
            let (namespace, pod) = (campaign.namespace(), &worker.pod);
            Ok(cluster.kill_process_in(namespace, pod, SIDECAR_CONTAINER, Signal::SIGKILL).await?)
        }
        JobFault::Mute => {
            let wall = Wall::Pod(worker.address.context("the pod has an address")?);
            let node = campaign.history().job(job).context("it is known")?.node.clone();
            campaign.note(job, "its pod was walled off", |job, now| job.muted.push(Span::since(now)));
            cluster.raise(&node, wall).await?;
            sleep(lasting).await;
            let lowered = cluster.lower(&node, wall).await;
            campaign.note(job, "its wall was taken down", |job, now| end(job.muted.last_mut(), now));
            Ok(lowered?)
        }
        JobFault::Delete => {
            jobs.delete(job, &DeleteParams::background()).await.context("deleting it")?;
            campaign.note(job, "was deleted", |job, now| job.deleted = Some(now));
            Ok(())
        }
        JobFault::Suspend => suspend(campaign, &jobs, job, worker, lasting).await,
    }
}

async fn suspend(
    campaign: &Arc<Campaign>,
    jobs: &Api<Job>,
    job: &str,
    worker: &Worker,
    lasting: Duration,
) -> anyhow::Result<()> {
    let set = async |suspend: bool| {
        let patch = Patch::Merge(serde_json::json!({"spec": {"suspend": suspend}}));
        jobs.patch(job, &PatchParams::default(), &patch).await.map(drop).context("changing it")
    };
    campaign.note(job, "was suspended", |job, now| job.suspended.push(Span::since(now)));
    if let Err(error) = set(true).await {
        campaign.note(job, "was not", |job, _| job.suspended.truncate(job.suspended.len().saturating_sub(1)));
        return Err(error);
    }
    sleep(lasting).await;
    while let Err(error) = set(false).await {
        if format!("{error:#}").contains("NotFound") {
            return Err(error);
        }
        sleep(Duration::from_secs(1)).await;
    }
    campaign.note(job, "was resumed", |job, now| {
        end(job.suspended.last_mut(), now);
        (job.submitted, job.started) = (now, None);
    });
    fleet::find_worker(Arc::clone(campaign), job.to_owned(), Some(worker.pod.clone())).await;
    Ok(())
}

async fn on_cluster(campaign: &Campaign, fault: ClusterFault, lasting: Duration) -> anyhow::Result<()> {
    let cluster = &campaign.ground.cluster;
    campaign.say(format!("cluster: {fault:?} for {} s", lasting.as_secs()));
    if fault == ClusterFault::Storm {
        return storm(campaign, lasting).await;
    }
    let from = campaign.now();
    campaign.history().upheavals.push(Span::since(from));
    let done = async {
        match fault {
            ClusterFault::StopApiServer => {
                cluster.stop_api_server().await?;
                sleep(lasting).await;
                cluster.start_api_server().await?;
            }
            ClusterFault::RestartEtcd => cluster.restart_etcd().await?,
            ClusterFault::KillLeader => drop(harm::kill_leader(cluster).await?),
            ClusterFault::StopReapers => {
                harm::scale_reapers(cluster, 0).await?;
                sleep(lasting).await;
                harm::scale_reapers(cluster, 2).await?;
            }
            ClusterFault::RemoveAgents => {
                harm::run_agents(cluster, false).await?;
                sleep(lasting).await;
                harm::run_agents(cluster, true).await?;
            }
            ClusterFault::Storm => {}
        }
        anyhow::Ok(())
    };
    let done = done.await;
    let until = campaign.now();
    end(campaign.history().upheavals.iter_mut().find(|span| span.from == from), until);
    until_led(campaign).await;
    campaign.say(format!("cluster: {fault:?} is over, and a leader hears and may act"));
    sleep(REST).await;
    done
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
    for node in &nodes {
        campaign.becomes(node, Condition::Cut);
        cluster.partition(node).await?;
    }
    sleep(lasting).await;
    for node in &nodes {
        cluster.heal(node).await?;
        campaign.becomes(node, Condition::Recovering);
    }
    for node in &nodes {
        cluster.wait_for_node(node, true, NODE_READY).await?;
        campaign.becomes(node, Condition::Well);
    }
    campaign.say("the storm is over");
    sleep(REST).await;
    Ok(())
}
