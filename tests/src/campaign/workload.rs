//! The Jobs that a campaign keeps open, and the truth about their workers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fastrand::Rng;
use futures::future::try_join;
use jobwarden_common::names::{annotation, label};
use jobwarden_testbed::Process;
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition},
        core::v1::Pod,
    },
    jiff::Timestamp,
};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use tokio::time::sleep;

use super::deadline::START_TIMEOUT;
use super::fault_plan::kind;
use super::history::{Condition, End, JobHistory, JobKind};
use super::state::{Campaign, Worker};
use crate::install::HOME;
use crate::{job, wait};

/// The number of Jobs that are open at a time.
pub(crate) const OPEN: usize = 40;
/// The maximum of them on the node that gets no faults, whatever the condition of the other nodes.
const MOST_AT_HOME: usize = 16;
/// The time between two looks at the processes.
const PROCESS_POLL: Duration = Duration::from_millis(200);
/// The time between two lists of Jobs and pods.
const KUBERNETES_POLL: Duration = Duration::from_secs(2);
/// The time between two submissions.
const PACE: Duration = Duration::from_millis(600);
/// How long one attempt to find a worker lasts.
const SEARCH: Duration = Duration::from_secs(20);
/// How much too early a process may seem to end: the kernel counts its start in hundredths of a second.
const TOLERANCE: Duration = Duration::from_millis(500);
/// An image that no registry has; `.invalid` names no host (RFC 2606).
const NO_IMAGE: &str = "registry.invalid/nothing:none";

/// Keeps [`OPEN`] Jobs open, without end.
pub(crate) async fn keep_open(campaign: &Arc<Campaign>, mut rng: Rng) -> anyhow::Result<()> {
    for number in 1_u32.. {
        let node = loop {
            sleep(PACE).await;
            if let Some(node) = next_node(campaign) {
                break node;
            }
        };
        let (name, kind) = (format!("job-{number}"), kind(&mut rng));
        // Recorded before it is submitted, so that no notification is about an unknown Job.
        let job = JobHistory::new(&name, &node, kind, campaign.now());
        campaign.history().jobs.push(job);
        let worker = worker(&name, &node, kind);
        while let Err(error) = campaign.environment.submit(campaign.namespace(), &worker).await {
            // The API server may be down. If the Job exists already, an earlier attempt succeeded without an answer.
            if format!("{error:#}").contains("AlreadyExists") {
                break;
            }
            sleep(PACE).await;
        }
        campaign.record(&name, &format!("was submitted: {kind:?} on {node}"), |job, now| job.submitted = now);
        if kind.duration().is_some() {
            campaign.search(find_worker(Arc::clone(campaign), name, None));
        }
    }
    Ok(())
}

/// Records the end of every worker's process, without end.
pub(crate) async fn watch_processes(campaign: &Campaign) {
    loop {
        let workers = campaign.workers().clone();
        for (job, _) in workers.iter().filter(|(_, worker)| !worker.process.is_alive()) {
            campaign.workers().remove(job);
            campaign.record(job, "its worker ended", |job, now| {
                if job.is_suspended() {
                    return;
                }
                let lasted = job.started.map(|started| now.saturating_sub(started) + TOLERANCE);
                let exited = job.kind.duration().zip(lasted).is_some_and(|(duration, lasted)| lasted >= duration);
                job.ended = Some(End { at: now, succeeded: exited && matches!(job.kind, JobKind::Succeeds(_)) });
            });
        }
        sleep(PROCESS_POLL).await;
    }
}

/// Records when the kubelet reports the end of a worker and when Kubernetes finishes a Job, without end.
pub(crate) async fn watch_kubernetes(campaign: &Campaign) {
    let client = &campaign.environment.client;
    let jobs = Api::<Job>::namespaced(client.clone(), campaign.namespace());
    let pods = Api::<Pod>::namespaced(client.clone(), campaign.namespace());
    let all = ListParams::default();
    loop {
        sleep(KUBERNETES_POLL).await;
        // The API server may be down.
        let Ok((jobs, pods)) = try_join(jobs.list(&all), pods.list(&all)).await else { continue };
        for job in pods.iter().filter(|pod| has_ended(pod)).filter_map(|pod| pod.labels().get(label::JOB_NAME)) {
            // A pod that ends because its Job is suspended does not count: its worker has no recorded end.
            if let Some(known) = campaign.history().job(job).filter(|job| job.ended.is_some()) {
                known.reported.get_or_insert(campaign.now());
            }
        }
        let (now, wall_clock) = (campaign.now(), Timestamp::now());
        for job in &jobs {
            let Some(finished) = finished_at(job) else { continue };
            let ago = Duration::try_from(wall_clock.duration_since(finished)).unwrap_or_default();
            if let Some(known) = campaign.history().job(&job.name_any()) {
                known.finished.get_or_insert(now.saturating_sub(ago));
            }
        }
    }
}

/// Whether the kubelet has reported its end, and the pod is not being deleted.
fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed")) && pod.metadata.deletion_timestamp.is_none()
}

fn finished_at(job: &Job) -> Option<Timestamp> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let is_final = |it: &&JobCondition| matches!(it.type_.as_str(), "Complete" | "Failed") && it.status == "True";
    Some(conditions.iter().find(is_final)?.last_transition_time.as_ref()?.0)
}

/// Finds the process of the Job's worker, other than that of the pod `before`.
pub(crate) async fn find_worker(campaign: Arc<Campaign>, job: String, before: Option<String>) {
    let except: Vec<_> = before.iter().map(String::as_str).collect();
    while !is_reported(&campaign, &job) {
        match look_for(&campaign, &job, &except).await {
            Ok(worker) => {
                let age = worker.process.age().unwrap_or_default();
                campaign.record(&job, &format!("its worker was found in pod {}", worker.pod), |job, now| {
                    let started = now.saturating_sub(age);
                    job.started = Some(started);
                    // An eviction before the start concerned an earlier pod.
                    job.evicted = job.evicted.filter(|evicted| *evicted > started);
                });
                campaign.workers().insert(job, worker);
                return;
            }
            Err(_) => sleep(PACE).await,
        }
    }
}

async fn look_for(campaign: &Campaign, job: &str, except: &[&str]) -> anyhow::Result<Worker> {
    let (client, namespace) = (&campaign.environment.client, campaign.namespace());
    let pod = wait::until_running(client, namespace, job, except, SEARCH).await?;
    let name = pod.name_any();
    let process: Process = campaign.environment.cluster.process_of(namespace, &name, "worker").await?;
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()).context("the pod has no address")?;
    Ok(Worker { pod: name, address: address.parse().ok(), process })
}

fn is_reported(campaign: &Campaign, job: &str) -> bool {
    campaign.notifications().iter().any(|it| it.job == job && it.kind.is_final())
}

/// The node for the next Job, if there is room for one.
fn next_node(campaign: &Campaign) -> Option<String> {
    let finals = campaign.notifications().into_iter().filter(|it| it.kind.is_final());
    let reported: BTreeSet<_> = finals.map(|it| it.job).collect();
    let history = campaign.history();
    let now = campaign.now();
    let open: Vec<_> = history.jobs.iter().filter(|job| !reported.contains(&job.name)).collect();
    if open.len() >= OPEN {
        return None;
    }
    let load = |node: &str| open.iter().filter(|job| job.node == node).count();
    let healthy = history.nodes.iter().filter(|(_, node)| node.condition_at(now) == Condition::Healthy);
    let room = healthy.map(|(name, _)| name).filter(|name| *name != HOME || load(name) < MOST_AT_HOME);
    room.min_by_key(|name| load(name)).cloned()
}

fn worker(name: &str, node: &str, kind: JobKind) -> job::Worker {
    let duration = kind.duration().unwrap_or(Duration::from_hours(1));
    let mebibytes = if kind == JobKind::OutOfMemory { 256 } else { 4 };
    let worker = job::Worker::new(name, mebibytes, duration).on_node(node);
    match kind {
        JobKind::Succeeds(_) => worker,
        JobKind::Fails(_) => worker.argument("--exit=3"),
        JobKind::OutOfMemory => worker.memory_limit(32),
        JobKind::MissingImage => {
            let timeout = format!("{}s", START_TIMEOUT.as_secs());
            worker.image(NO_IMAGE).annotation(annotation::START_TIMEOUT, &timeout)
        }
    }
}
