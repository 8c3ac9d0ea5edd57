//! The time by which the end of a Job has to be reported.

use std::time::Duration;

use super::history::{CampaignTime, Condition, History, JobHistory, JobKind, NodeHistory, Span};

/// How long it may take to look at, write and report the Jobs of a node that carries many, after the first of them is due.
const MANY: Duration = Duration::from_secs(3);
/// `NodeGone`: after the deletion of the Node object.
const NODE_GONE: Duration = Duration::from_secs(30).saturating_add(MANY);
/// `ProcessGone`: after the end of the processes.
const PROCESS_GONE: Duration = Duration::from_secs(220);
/// `NodeUnreachable`: after lost-after.
const NODE_UNREACHABLE: Duration = Duration::from_secs(2).saturating_add(MANY);
/// `OutcomeUnknown`: after lost-after from the last renewal of the Lease, or after the end of a worker that ends later.
const OUTCOME_UNKNOWN: Duration = Duration::from_secs(30);
/// What Kubernetes itself reports: jobwarden promises no time here, but a Job reported later counts as missed.
const BY_KUBERNETES: Duration = Duration::from_mins(1);
/// How long Kubernetes itself may take. What it has not reported by then counts as missed too. After an API server outage its
/// controllers retry for up to a minute: the pauses between their attempts double up to 30 s and are stretched up to twofold
/// (client-go, `tools/cache/reflector.go`).
const KUBERNETES_ITSELF: Duration = Duration::from_mins(3);
/// How long the notification of what Kubernetes reported late may take.
const NOTIFICATION: Duration = Duration::from_secs(10);
/// How long a pod may take from the Job's creation to the start of its worker.
const START: Duration = Duration::from_mins(1);
/// The start-timeout of Jobs whose image is missing.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long after a pause the pod that an eviction finds may be one that the Job controller is removing.
const EVICTED_BEFORE: Duration = Duration::from_secs(10);
/// The precision of the times when the reaper received signals: it is asked every second.
const SAMPLING: Duration = Duration::from_secs(2);

/// A deadline of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The latest time of the notification.
    pub at: CampaignTime,
    /// When what has to be reported happened.
    pub since: CampaignTime,
    /// What happened.
    pub what: &'static str,
}

/// The time by which the end of a Job has to be reported, if it has ended.
pub fn deadline(history: &History, job: &JobHistory, node: &NodeHistory, lost_after: Duration) -> Option<Deadline> {
    let by_kubernetes = [of_deletion(job), of_finish(job)].into_iter().flatten();
    let by_kubernetes = by_kubernetes.map(|deadline| extended(history, deadline));
    by_kubernetes.chain(of_worker(history, job, node, lost_after)).min_by_key(|deadline| deadline.at)
}

fn of_deletion(job: &JobHistory) -> Option<Deadline> {
    let since = job.deleted?.done?;
    Some(Deadline { at: since + BY_KUBERNETES, since, what: "the Job was deleted" })
}

/// Of a Job that wanted no pod for a while. Whether a worker that ended around that time decides the outcome, only Kubernetes knows.
fn of_finish(job: &JobHistory) -> Option<Deadline> {
    let since = job.finished.filter(|_| !job.pauses.is_empty())?;
    Some(Deadline { at: since + BY_KUBERNETES, since, what: "Kubernetes finished the Job" })
}

/// The earliest deadline among the ways to detect the end that stay open long enough.
fn of_worker(history: &History, job: &JobHistory, node: &NodeHistory, lost_after: Duration) -> Option<Deadline> {
    if job.is_paused() {
        return None;
    }
    let (end, kubernetes) = end(job);
    let by_kubernetes = |since: CampaignTime| {
        let at = match job.finished {
            Some(finished) => (since + kubernetes).max(finished + NOTIFICATION),
            None => since + kubernetes.max(KUBERNETES_ITSELF),
        };
        Deadline { at, since, what: "the worker ended" }
    };
    let reported = job.current().and_then(|attempt| attempt.reported);
    let left_to_kubernetes = end.filter(|_| reported.is_some()).map(|since| extended(history, by_kubernetes(since)));
    let periods = node.periods(Duration::ZERO);
    let unreported = periods.iter().filter(|(span, _)| reported.is_none_or(|reported| span.from < reported));
    let ways = unreported.filter_map(|(span, condition)| {
        let dead_since = end.map(|end| end.max(span.from));
        let way = match condition {
            Condition::Healthy => dead_since.map(by_kubernetes),
            Condition::CutOff => on_a_cut_node(job, node, *span, lost_after),
            Condition::NoKubelet => dead_since.map(|since| Deadline {
                at: (span.from + lost_after).max(since) + OUTCOME_UNKNOWN,
                since,
                what: "the worker ended while no kubelet ran",
            }),
            Condition::Frozen => dead_since.map(|since| Deadline {
                at: since + PROCESS_GONE,
                since,
                what: "the worker ended while the container runtime was frozen",
            }),
            Condition::Recovering => None,
        }?;
        let way = extended(history, way);
        span.until.is_none_or(|until| way.at <= until).then_some(way)
    });
    ways.chain(left_to_kubernetes).min_by_key(|deadline| deadline.at)
}

/// A live worker is lost, too, if its node is cut off long enough. A pod that has no node waits for the scheduler.
fn on_a_cut_node(job: &JobHistory, node: &NodeHistory, span: Span, lost_after: Duration) -> Option<Deadline> {
    let from = match job.current() {
        Some(attempt) => attempt.started.max(job.submitted),
        None => job.bound?.max(job.submitted) + START,
    };
    let since = from.max(span.from);
    let cut = Deadline { at: since + lost_after + NODE_UNREACHABLE, since, what: "the node was cut off" };
    let gone = node.deleted.iter().map(|span| span.from).find(|at| *at >= span.from);
    let gone = gone.map(|at| Deadline { at: at.max(from) + NODE_GONE, since: at, what: "the node was deleted" });
    gone.into_iter().chain([cut]).min_by_key(|deadline| deadline.at)
}

/// When the worker ended, and how long Kubernetes may take to report that.
fn end(job: &JobHistory) -> (Option<CampaignTime>, Duration) {
    // A pod that was removed because the Job wanted none is not evicted as well.
    let evicted = job.evicted.filter(|eviction| eviction.confirmed).map(|eviction| eviction.asked);
    let evicted = evicted.filter(|at| !job.was_paused(at.saturating_sub(EVICTED_BEFORE), *at));
    match (job.kind, job.ended().filter(|end| !job.is_doubtful(*end))) {
        (JobKind::MissingImage, _) => (Some(job.submitted), START_TIMEOUT + START + BY_KUBERNETES),
        (JobKind::OutOfMemory, _) => (Some(job.submitted), START + BY_KUBERNETES),
        (_, Some(end)) => (Some(evicted.map_or(end.at, |evicted| evicted.min(end.at))), BY_KUBERNETES),
        (_, None) => (evicted, BY_KUBERNETES),
    }
}

/// Adds the time in which the reaper rightly decided nothing: it received no signals or a guard held. With a new leader the
/// time starts again.
fn extended(history: &History, deadline: Deadline) -> Deadline {
    let bound = deadline.at.saturating_sub(deadline.since);
    let mut disturbances: Vec<_> = disturbed(history).into_iter().map(|span| (span.from, Some(span))).collect();
    disturbances.extend(history.terms.iter().map(|term| (*term, None)));
    disturbances.sort_by_key(|(from, _)| *from);
    let mut at = deadline.at;
    for (from, pause) in disturbances {
        if from > at {
            break;
        }
        match pause {
            Some(Span { until: None, .. }) => return Deadline { at: CampaignTime::MAX, ..deadline },
            Some(Span { from, until: Some(until) }) if until > deadline.since => {
                at += until.saturating_sub(from.max(deadline.since)) + SAMPLING;
            }
            None if from > deadline.since => at = at.max(from + bound + SAMPLING),
            Some(_) | None => {}
        }
    }
    Deadline { at, ..deadline }
}

/// The periods in which the reaper received no signals or a guard held, with overlapping periods merged.
fn disturbed(history: &History) -> Vec<Span> {
    let mut spans: Vec<_> = history.pauses.iter().chain(&history.disruptions).copied().collect();
    spans.sort_by_key(|span| span.from);
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut().filter(|last| last.until.is_none_or(|until| until >= span.from)) {
            Some(last) => last.until = last.until.zip(span.until).map(|(one, other)| one.max(other)),
            None => merged.push(span),
        }
    }
    merged
}
