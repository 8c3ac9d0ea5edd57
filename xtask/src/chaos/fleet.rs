//! The Jobs that a campaign keeps open, and the truth about their workers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fastrand::Rng;
use futures::future::try_join;
use jobwarden_common::names::{annotation, label};
use jobwarden_tests::cluster::Process;
use jobwarden_tests::install::HOME;
use jobwarden_tests::{job, wait};
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

use super::campaign::{Campaign, Worker};
use super::due::START_TIMEOUT;
use super::history::{Condition, End, JobHistory, Kind};
use super::plan::kind;

/// Jobs that are open at one time.
pub(super) const OPEN: usize = 40;
/// The most of them on the node that is never harmed, however the others are.
const MOST_AT_HOME: usize = 16;
/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often it is asked how far Jobs are.
const LISTEN: Duration = Duration::from_secs(2);
/// Between two submissions.
const PACE: Duration = Duration::from_millis(600);
/// How long to wait for a worker in one go.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much earlier than told a process may seem to end: the kernel counts its start in hundredths of a second.
const ROUGHLY: Duration = Duration::from_millis(500);
/// An image that no registry has; `.invalid` names no host (RFC 2606).
const NO_IMAGE: &str = "registry.invalid/nothing:none";

/// Keeps so many Jobs open, for ever.
pub(super) async fn keep(campaign: &Arc<Campaign>, mut rng: Rng) -> anyhow::Result<()> {
    for number in 1_u32.. {
        let node = loop {
            sleep(PACE).await;
            if let Some(node) = place(campaign) {
                break node;
            }
        };
        let (name, kind) = (format!("job-{number}"), kind(&mut rng));
        // Before it is submitted, so that nothing is told of a Job that is not known.
        let now = campaign.now();
        campaign.history().jobs.push(JobHistory {
            name: name.clone(),
            node: node.clone(),
            kind,
            submitted: now,
            started: None,
            ended: None,
            reported: None,
            finished: None,
            deleted: None,
            evicted: None,
            muted: Vec::new(),
            suspended: Vec::new(),
            story: Vec::new(),
        });
        let worker = worker(&name, &node, kind);
        while let Err(error) = campaign.ground.submit(campaign.namespace(), &worker).await {
            // The API server may be away; that it is there already is our own success that we were not told of.
            if format!("{error:#}").contains("AlreadyExists") {
                break;
            }
            sleep(PACE).await;
        }
        campaign.note(&name, &format!("was submitted: {kind:?} on {node}"), |job, now| job.submitted = now);
        if kind.lasting().is_some() {
            campaign.search(find_worker(Arc::clone(campaign), name, None));
        }
    }
    Ok(())
}

/// Looks at every worker's process, for ever.
pub(super) async fn watch(campaign: &Campaign) {
    loop {
        let workers = campaign.workers().clone();
        for (job, _) in workers.iter().filter(|(_, worker)| !worker.process.is_alive()) {
            campaign.workers().remove(job);
            campaign.note(job, "its worker ended", |job, now| {
                if job.is_suspended() {
                    return;
                }
                let lasted = job.started.map(|started| now.saturating_sub(started) + ROUGHLY);
                let by_itself = job.kind.lasting().zip(lasted).is_some_and(|(lasting, lasted)| lasted >= lasting);
                job.ended = Some(End { at: now, well: by_itself && matches!(job.kind, Kind::Works(_)) });
            });
        }
        sleep(LOOK).await;
    }
}

/// Takes down when Kubernetes is told of the end of a worker, and when it finishes a Job, for ever.
pub(super) async fn hear_kubernetes(campaign: &Campaign) {
    let client = &campaign.ground.client;
    let jobs = Api::<Job>::namespaced(client.clone(), campaign.namespace());
    let pods = Api::<Pod>::namespaced(client.clone(), campaign.namespace());
    let all = ListParams::default();
    loop {
        sleep(LISTEN).await;
        // The API server may be away.
        let Ok((jobs, pods)) = try_join(jobs.list(&all), pods.list(&all)).await else { continue };
        for job in pods.iter().filter(|pod| has_ended(pod)).filter_map(|pod| pod.labels().get(label::JOB_NAME)) {
            // What ends because its Job is suspended is no end.
            if let Some(known) = campaign.history().job(job).filter(|job| job.ended.is_some()) {
                known.reported.get_or_insert(campaign.now());
            }
        }
        let (now, wall) = (campaign.now(), Timestamp::now());
        for job in &jobs {
            let Some(finished) = finished_at(job) else { continue };
            let ago = Duration::try_from(wall.duration_since(finished)).unwrap_or_default();
            if let Some(known) = campaign.history().job(&job.name_any()) {
                known.finished.get_or_insert(now.saturating_sub(ago));
            }
        }
    }
}

/// By the kubelet's report, and not because somebody is deleting it.
fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed")) && pod.metadata.deletion_timestamp.is_none()
}

fn finished_at(job: &Job) -> Option<Timestamp> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let is_last = |it: &&JobCondition| matches!(it.type_.as_str(), "Complete" | "Failed") && it.status == "True";
    Some(conditions.iter().find(is_last)?.last_transition_time.as_ref()?.0)
}

/// Finds the process of the Job's worker, other than that of the pod `before`.
pub(super) async fn find_worker(campaign: Arc<Campaign>, job: String, before: Option<String>) {
    let except: Vec<_> = before.iter().map(String::as_str).collect();
    while !is_over(&campaign, &job) {
        match look_for(&campaign, &job, &except).await {
            Ok(worker) => {
                let age = worker.process.age().unwrap_or_default();
                campaign.note(&job, &format!("its worker was seen, of pod {}", worker.pod), |job, now| {
                    let started = now.saturating_sub(age);
                    job.started = Some(started);
                    // It was not there yet to be evicted.
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
    let (client, namespace) = (&campaign.ground.client, campaign.namespace());
    let pod = wait::until_running(client, namespace, job, except, PATIENCE).await?;
    let name = pod.name_any();
    let process: Process = campaign.ground.cluster.process_of(namespace, &name, "worker").await?;
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()).context("it has an address")?;
    Ok(Worker { pod: name, address: address.parse().ok(), process })
}

fn is_over(campaign: &Campaign, job: &str) -> bool {
    campaign.told().iter().any(|told| told.job == job && told.kind.is_final())
}

/// Where the next Job is to run, if there is room for one.
fn place(campaign: &Campaign) -> Option<String> {
    let over: BTreeSet<_> =
        campaign.told().into_iter().filter(|told| told.kind.is_final()).map(|told| told.job).collect();
    let history = campaign.history();
    let now = campaign.now();
    let open: Vec<_> = history.jobs.iter().filter(|job| !over.contains(&job.name)).collect();
    if open.len() >= OPEN {
        return None;
    }
    let load = |node: &str| open.iter().filter(|job| job.node == node).count();
    let well = history.nodes.iter().filter(|(_, node)| node.at(now) == Condition::Well);
    let room = well.map(|(name, _)| name).filter(|name| *name != HOME || load(name) < MOST_AT_HOME);
    room.min_by_key(|name| load(name)).cloned()
}

fn worker(name: &str, node: &str, kind: Kind) -> job::Worker {
    let lasting = kind.lasting().unwrap_or(Duration::from_hours(1));
    let mebibytes = if kind == Kind::OutOfMemory { 256 } else { 4 };
    let worker = job::Worker::new(name, mebibytes, lasting).on_node(node);
    match kind {
        Kind::Works(_) => worker,
        Kind::Fails(_) => worker.argument("--exit=3"),
        Kind::OutOfMemory => worker.at_most(32),
        Kind::NoImage => {
            let timeout = format!("{}s", START_TIMEOUT.as_secs());
            worker.image(NO_IMAGE).annotation(annotation::START_TIMEOUT, &timeout)
        }
    }
}
