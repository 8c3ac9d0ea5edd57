//! The Jobs that a campaign keeps open.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use jobwarden_common::names::annotation;
use tokio::time::sleep;

use super::deadline::START_TIMEOUT;
use super::fault_plan::kind;
use super::history::{JobHistory, JobKind};
use super::state::Campaign;
use crate::job;

/// The number of Jobs that are open at a time on each node that is well.
pub(crate) const PER_NODE: usize = 28;
/// The time between two submissions.
const PACE: Duration = Duration::from_millis(600);
/// An image that no registry has; `.invalid` names no host (RFC 2606).
const NO_IMAGE: &str = "registry.invalid/nothing:none";

/// Keeps [`PER_NODE`] Jobs open on each node that is well, without end.
pub(crate) async fn keep_open(campaign: &Campaign, mut rng: Rng) {
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
    }
}

/// The node for the next Job, if there is room for one: the one with the fewest.
fn next_node(campaign: &Campaign) -> Option<String> {
    let load = load(campaign);
    let history = campaign.history();
    let now = campaign.now();
    let open = history.nodes.iter().filter(|(_, node)| node.is_open(now)).map(|(name, _)| name);
    let of = |node: &str| load.get(node).copied().unwrap_or(0);
    open.filter(|node| of(node) < PER_NODE).min_by_key(|node| of(node)).cloned()
}

/// The number of Jobs on each node that have no final outcome yet.
pub(crate) fn load(campaign: &Campaign) -> BTreeMap<String, usize> {
    let reported = campaign.reported();
    let history = campaign.history();
    let mut load: BTreeMap<_, _> = history.nodes.keys().map(|node| (node.clone(), 0)).collect();
    for job in history.jobs.iter().filter(|job| !reported.contains(&job.name)) {
        *load.entry(job.node.clone()).or_default() += 1;
    }
    load
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
