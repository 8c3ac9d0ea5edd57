//! The evidence for a finding, from which a person can judge it: what was done to the Job, to its node and to the cluster, what
//! its workers did, and what was reported.

use std::time::Duration;

use super::clock::clock;
use super::history::{Attempt, CampaignTime, Condition, Entry, History, JobHistory, NodeHistory, Notification, Span};

/// How much earlier than the Job, and later than the last notification about it, something may matter.
const AROUND: Duration = Duration::from_mins(2);

/// The lines about a Job, by source and in the order of time.
pub(crate) fn of(history: &History, notifications: &[Notification], job: &str) -> Vec<String> {
    let about: Vec<_> = notifications.iter().filter(|it| it.job == job).collect();
    let Some(job) = history.jobs.iter().find(|it| it.name == job) else {
        return about.into_iter().map(notified).collect();
    };
    let from = job.attempts.first().map_or(job.submitted, |attempt| attempt.started.min(job.submitted));
    let from = from.saturating_sub(AROUND);
    let until = about.iter().map(|it| it.at).chain(job.finished).max().map_or(CampaignTime::MAX, |last| last + AROUND);
    let node = history.nodes.get(&job.node);
    let mut lines: Vec<_> = job.log.iter().map(|entry| format!("job       {entry}")).collect();
    lines.extend(job.attempts.iter().map(attempt));
    lines.extend(job.finished.map(|at| format!("job       {} was finished by Kubernetes", clock(at))));
    lines.extend(node.into_iter().flat_map(|node| conditions(job, node, from, until)));
    let concerns = |entry: &&Entry| entry.node.as_ref().is_none_or(|node| *node == job.node);
    let log = history.log.iter().filter(|entry| entry.at >= from && entry.at <= until).filter(concerns);
    lines.extend(log.map(|entry| format!("cluster   {} {}", clock(entry.at), entry.what)));
    let held = history.pauses.iter().filter(|span| span.overlaps(from, until));
    let ends = |until: Option<CampaignTime>| until.map_or_else(|| "now".to_owned(), clock);
    lines.extend(held.map(|span| format!("excused   {} to {}", clock(span.from), ends(span.until))));
    lines.extend(about.into_iter().map(notified));
    lines
}

fn attempt(attempt: &Attempt) -> String {
    let ended = attempt.ended.map_or_else(|| "runs".to_owned(), |end| format!("{:?} at {}", end.how, clock(end.at)));
    let reported = attempt.reported.map(|at| format!(", reported by the kubelet at {}", clock(at))).unwrap_or_default();
    let dropped = attempt.dropped.map(|at| format!(", no longer wanted at {}", clock(at))).unwrap_or_default();
    format!("worker    {} started in pod {}: {ended}{reported}{dropped}", clock(attempt.started), attempt.pod)
}

fn conditions(job: &JobHistory, node: &NodeHistory, from: CampaignTime, until: CampaignTime) -> Vec<String> {
    let periods = node.periods(from).into_iter().filter(|(span, _)| span.from <= until);
    let mut lines: Vec<_> = periods.map(|(span, it): (_, Condition)| (span.from, format!("{it:?}"))).collect();
    let at = |what: &str, times: &[CampaignTime]| -> Vec<(CampaignTime, String)> {
        times.iter().filter(|at| **at >= from && **at <= until).map(|at| (*at, what.to_owned())).collect()
    };
    lines.extend(at("loses power", &node.crashes));
    lines.extend(at("boots", &node.boots));
    let begins = |spans: &[Span]| spans.iter().map(|span| span.from).collect::<Vec<_>>();
    lines.extend(at("its object is deleted", &begins(&node.deleted)));
    lines.extend(at("its traffic to the reaper is dropped", &begins(&node.blocked)));
    lines.extend(at("takes no new pods", &begins(&node.closed)));
    lines.sort();
    lines.into_iter().map(|(at, what)| format!("node      {} {} {what}", clock(at), job.node)).collect()
}

fn notified(it: &Notification) -> String {
    format!("notified  {} {} {} by {}", clock(it.at), it.kind, it.reason, it.explanation)
}
