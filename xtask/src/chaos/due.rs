//! By when somebody has to be told of the end of a Job.

use std::time::Duration;

use super::history::{At, Condition, History, JobHistory, Kind, NodeHistory, Span};

/// `NodeGone`: after the node's object is deleted.
const NODE_GONE: Duration = Duration::from_secs(30);
/// `ProcessGone`: after the processes end.
const PROCESS_GONE: Duration = Duration::from_secs(100);
/// `NodeUnreachable`: after lost-after.
const NODE_UNREACHABLE: Duration = Duration::from_secs(2);
/// `OutcomeUnknown`: after lost-after from the last change of the Lease, and from the end of a worker that ends later.
const OUTCOME_UNKNOWN: Duration = Duration::from_secs(30);
/// What Kubernetes itself reports: no promise of ours, but a Job that nobody hears of for longer is as good as missed.
const BY_KUBERNETES: Duration = Duration::from_mins(1);
/// How long Kubernetes may take itself, after which what it has not reported is as good as missed too. Its controllers try again
/// up to a minute after an API server that was away is back: their pauses double up to 30 s, and are stretched up to twofold
/// (client-go, `tools/cache/reflector.go`).
const KUBERNETES_ITSELF: Duration = Duration::from_mins(3);
/// How long it may take to tell what Kubernetes has reported late.
const TOLD: Duration = Duration::from_secs(10);
/// How long a pod may take from submission to the start of its worker.
const START: Duration = Duration::from_mins(1);
/// After how long a pod whose image is missing is lost here.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How exactly it is known when the reaper heard: it is asked every second.
const SAMPLING: Duration = Duration::from_secs(2);

/// Something that has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// By when.
    pub(super) at: At,
    /// Since when it is so.
    pub(super) since: At,
    /// What it is.
    pub(super) what: &'static str,
}

/// By when the end of a Job has to be told, if it has one.
pub(super) fn due(history: &History, job: &JobHistory, node: &NodeHistory, lost_after: Duration) -> Option<Due> {
    let deleted = deleted(job).map(|due| extended(history, due));
    deleted.into_iter().chain(of_worker(history, job, node, lost_after)).min_by_key(|due| due.at)
}

fn deleted(job: &JobHistory) -> Option<Due> {
    let since = job.deleted?;
    Some(Due { at: since + BY_KUBERNETES, since, what: "the Job was deleted" })
}

/// The first way on which it can be found, of those that are open for long enough.
fn of_worker(history: &History, job: &JobHistory, node: &NodeHistory, lost_after: Duration) -> Option<Due> {
    if job.is_suspended() {
        return None;
    }
    let (end, patience) = end(job);
    // A worker that lives is lost where its node is cut off for long enough; one that has ended, on any way.
    let from = job.started.unwrap_or(job.submitted + START);
    let by_kubernetes = |since: At| {
        let at = match job.finished {
            Some(finished) => (since + patience).max(finished + TOLD),
            None => since + patience.max(KUBERNETES_ITSELF),
        };
        Due { at, since, what: "the worker had ended" }
    };
    let reported = end.filter(|_| job.reported.is_some()).map(|since| extended(history, by_kubernetes(since)));
    let stretches = node.stretches(Duration::ZERO);
    let unreported = stretches.iter().filter(|(span, _)| job.reported.is_none_or(|reported| span.from < reported));
    let ways = unreported.filter_map(|(span, condition)| {
        let dead_since = end.map(|end| end.max(span.from));
        let way = match condition {
            Condition::Well => dead_since.map(by_kubernetes),
            Condition::Cut => {
                let since = from.max(span.from);
                let gone = node.deleted.iter().map(|span| span.from).find(|at| *at >= span.from);
                let gone = gone.map(|at| Due { at: at.max(from) + NODE_GONE, since: at, what: "the node was deleted" });
                let cut = Due { at: since + lost_after + NODE_UNREACHABLE, since, what: "the node was cut off" };
                Some(gone.into_iter().chain([cut]).min_by_key(|due| due.at).unwrap_or(cut))
            }
            Condition::NoKubelet => dead_since.map(|since| Due {
                at: (span.from + lost_after).max(since) + OUTCOME_UNKNOWN,
                since,
                what: "the worker had ended without a kubelet",
            }),
            Condition::Frozen => dead_since.map(|since| Due {
                at: since + PROCESS_GONE,
                since,
                what: "the worker had ended under a frozen runtime",
            }),
            Condition::Recovering => None,
        }?;
        let way = extended(history, way);
        span.until.is_none_or(|until| way.at <= until).then_some(way)
    });
    ways.chain(reported).min_by_key(|due| due.at)
}

/// When it ended, and how long Kubernetes may take to find out.
fn end(job: &JobHistory) -> (Option<At>, Duration) {
    match (job.kind, job.ended, job.evicted) {
        (Kind::NoImage, ..) => (Some(job.submitted), START_TIMEOUT + START + BY_KUBERNETES),
        (Kind::OutOfMemory, ..) => (Some(job.submitted), START + BY_KUBERNETES),
        (_, Some(end), evicted) => (Some(evicted.map_or(end.at, |evicted| evicted.min(end.at))), BY_KUBERNETES),
        (_, None, evicted) => (evicted, BY_KUBERNETES),
    }
}

/// Later by what the reaper could not help: time in which it did not hear or held does not count, and with a new leader it
/// begins anew.
fn extended(history: &History, due: Due) -> Due {
    let bound = due.at.saturating_sub(due.since);
    let mut disturbances: Vec<_> = disturbed(history).into_iter().map(|span| (span.from, Some(span))).collect();
    disturbances.extend(history.terms.iter().map(|term| (*term, None)));
    disturbances.sort_by_key(|(from, _)| *from);
    let mut at = due.at;
    for (from, pause) in disturbances {
        if from > at {
            break;
        }
        match pause {
            Some(Span { until: None, .. }) => return Due { at: At::MAX, ..due },
            Some(Span { from, until: Some(until) }) if until > due.since => {
                at += until.saturating_sub(from.max(due.since)) + SAMPLING;
            }
            None if from > due.since => at = at.max(from + bound + SAMPLING),
            Some(_) | None => {}
        }
    }
    Due { at, ..due }
}

/// When the reaper did not hear, or could not, or held: each time once.
fn disturbed(history: &History) -> Vec<Span> {
    let mut spans: Vec<_> = history.pauses.iter().chain(&history.upheavals).copied().collect();
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
