//! The oracle: compares the notifications of a campaign with what really happened. A pure function; the rules are in
//! `docs/design/0004-chaos.md` and `docs/design/0011-the-campaign.md`.

mod plausible;

use std::time::Duration;

use jobwarden_common::names::reason;
use jobwarden_common::notification::OutcomeKind;

use self::plausible::Truth;
use super::clock::clock;
use super::deadline::{Deadline, deadline};
use super::history::{Attempt, CampaignTime, End, History, How, JobHistory, NodeHistory, Notification, Propagation};

/// How long after a failover or an API server outage a delivery may be repeated, because its acknowledgement may not have
/// been recorded.
const REDELIVERY: Duration = Duration::from_mins(1);
/// How long after something was done to a node its kubelet may stop a worker for it.
const AFTERMATH: Duration = Duration::from_mins(1);

/// How notifications can differ from the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// A notification contradicts the truth, or a worker was stopped for which there was no reason.
    Wrong,
    /// A notification is missing or late.
    Missed,
    /// A Job was reported twice.
    Duplicated,
}

/// A difference between the notifications and the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub violation: Violation,
    /// The Job's name.
    pub job: String,
    /// A description.
    pub why: String,
}

/// A loss that the reaper detected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detection {
    /// The Job's name.
    pub job: String,
    /// The reason of the notification.
    pub reason: String,
    /// The time from the fault to the notification.
    pub took: Duration,
}

/// The oracle's judgement of a campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assessment {
    /// Every violation. None, if jobwarden did what it promises.
    pub findings: Vec<Finding>,
    /// Every detected loss.
    pub detections: Vec<Detection>,
}

/// Judges the notifications received until `now`.
pub fn assess(
    history: &History,
    notifications: &[Notification],
    lost_after: Duration,
    now: CampaignTime,
) -> Assessment {
    let mut assessment = Assessment::default();
    for job in &history.jobs {
        let about: Vec<_> = notifications.iter().filter(|it| it.job == job.name).collect();
        let node = &history.nodes[&job.node];
        JobAudit { history, job, node, lost_after, assessment: &mut assessment }.run(&about, now);
    }
    let unknown = notifications.iter().filter(|it| history.jobs.iter().all(|job| job.name != it.job));
    assessment.findings.extend(unknown.map(|notification| Finding {
        violation: Violation::Wrong,
        job: notification.job.clone(),
        why: format!("{} although there never was such a Job", text_of(notification)),
    }));
    assessment
}

/// The number of Jobs that have ended and were not reported yet.
pub fn outstanding(history: &History, notifications: &[Notification], lost_after: Duration) -> usize {
    let is_reported = |job: &JobHistory| notifications.iter().any(|it| it.job == job.name && it.kind.is_final());
    let unreported = history.jobs.iter().filter(|job| !is_reported(job));
    unreported.filter(|job| deadline(history, job, &history.nodes[&job.node], lost_after).is_some()).count()
}

struct JobAudit<'a> {
    history: &'a History,
    job: &'a JobHistory,
    node: &'a NodeHistory,
    lost_after: Duration,
    assessment: &'a mut Assessment,
}

impl JobAudit<'_> {
    fn run(&mut self, about: &[&Notification], now: CampaignTime) {
        let finals: Vec<_> = about.iter().filter(|notification| notification.kind.is_final()).collect();
        let truth = Truth { history: self.history, job: self.job, node: self.node, lost_after: self.lost_after };
        for notification in about {
            if !truth.allows(notification) {
                let why = format!("{} although {}", text_of(notification), truth.text(notification.at));
                self.find(Violation::Wrong, why);
            }
            if notification.deliveries > 1 && !self.may_be_redelivered(notification) {
                let why = format!("{} was delivered {} times", text_of(notification), notification.deliveries);
                self.find(Violation::Duplicated, why);
            }
        }
        for further in finals.iter().skip(1) {
            self.find(Violation::Duplicated, format!("{} follows {}", text_of(further), text_of(finals[0])));
        }
        if let Some(end) = self.ended_for_no_reason(finals.first().map(|it| it.at), now) {
            self.find(
                Violation::Wrong,
                format!("its worker ended at {} before its time, and no fault did that", clock(end.at)),
            );
        }
        let deadline = deadline(self.history, self.job, self.node, self.lost_after);
        match (finals.first(), deadline) {
            (None, Some(deadline)) if deadline.at < now => self.find(
                Violation::Missed,
                format!("no notification by {}: {} at {}", clock(deadline.at), deadline.what, clock(deadline.since)),
            ),
            (Some(notification), Some(deadline)) => self.check_time(notification, &deadline),
            _ => {}
        }
    }

    fn check_time(&mut self, notification: &Notification, deadline: &Deadline) {
        let detected = notification.kind == OutcomeKind::Lost && notification.reason != reason::JOB_DELETED;
        if let Some(took) = notification.at.checked_sub(deadline.since).filter(|_| detected) {
            let (job, reason) = (notification.job.clone(), notification.reason.clone());
            self.assessment.detections.push(Detection { job, reason, took });
        }
        if let Some(late) = notification.at.checked_sub(deadline.at).filter(|late| !late.is_zero()) {
            self.find(
                Violation::Missed,
                format!("{} is {late:.1?} late: {} at {}", text_of(notification), deadline.what, clock(deadline.since)),
            );
        }
    }

    /// The end of a worker on a node that was well, although its time was not over, its Job wanted it, no fault ended it, and nothing
    /// was reported before. The worker of a deleted Job that leaves its pods alone belongs to nobody, and nobody may stop it.
    fn ended_for_no_reason(&self, reported: Option<CampaignTime>, now: CampaignTime) -> Option<End> {
        let (job, node) = (self.job, self.node);
        let orphaned = job.deleted.is_some_and(|deletion| deletion.propagation == Propagation::Orphan);
        let is_excused = |attempt: &Attempt, end: End| {
            (!orphaned && (job.was_deleted(end.at) || reported.is_some_and(|at| at <= end.at)))
                || job.was_evicted(end.at)
                || attempt.dropped.is_some()
                || job.was_paused(attempt.started, end.at)
                || node.was_unhealthy(end.at.saturating_sub(AFTERMATH), end.at)
        };
        let ends = job.attempts.iter().filter_map(|attempt| Some((attempt, attempt.ended?)));
        // What explains an end may be seen a moment later.
        let mut stopped = ends.filter(|(_, end)| end.how == How::Stopped && end.at + AFTERMATH <= now);
        stopped.find(|(attempt, end)| !is_excused(attempt, *end)).map(|(_, end)| end)
    }

    fn may_be_redelivered(&self, notification: &Notification) -> bool {
        let (from, until) = (notification.at.saturating_sub(REDELIVERY), notification.at + REDELIVERY);
        self.history.disruptions.iter().any(|span| span.overlaps(from, until))
            || self.history.terms.iter().any(|term| *term + REDELIVERY >= notification.at && *term <= until)
    }

    fn find(&mut self, violation: Violation, why: String) {
        self.assessment.findings.push(Finding { violation, job: self.job.name.clone(), why });
    }
}

fn text_of(notification: &Notification) -> String {
    format!("{} {} at {}", notification.kind, notification.reason, clock(notification.at))
}

#[cfg(test)]
mod tests;
