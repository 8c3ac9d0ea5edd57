//! The oracle: compares the notifications of a campaign with what really happened. A pure function; the rules are in
//! `docs/design/0004-chaos.md`.

use std::time::Duration;

use jobwarden_common::names::reason;
use jobwarden_common::notification::OutcomeKind;

use super::clock::clock;
use super::deadline::{Deadline, START_TIMEOUT, deadline};
use super::history::{CampaignTime, Condition, History, JobHistory, JobKind, NodeHistory, Notification};

/// How long after its repair a node's signals reach the reaper for certain: the longest pause of a sidecar or agent between
/// two attempts (15 s), and some room.
const SIGNALS_RESUME: Duration = Duration::from_secs(17);
/// The greatest age of the latest sign of life at the moment when a node is cut off.
const LAST_SIGN: Duration = Duration::from_secs(5);
/// How long a terminating pod may take to end. Kubernetes counts it as failed from the start of its termination.
const TERMINATION_GRACE: Duration = Duration::from_secs(10);
/// The precision of the time at which a pod was bound to its node: Kubernetes writes whole seconds, and answers later.
const WHOLE_SECONDS: Duration = Duration::from_secs(2);
/// The number of silent Jobs above which the breaker certainly holds: its limit is 20, and a few may end in the meantime.
const BREAKER_HOLDS: usize = 24;
/// How long after a failover or an API server outage a delivery may be repeated, because its acknowledgement may not have
/// been recorded.
const REDELIVERY: Duration = Duration::from_mins(1);

/// How notifications can differ from the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// A notification contradicts the truth.
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
        for notification in about {
            if let Some(why) = self.contradiction(notification) {
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

    /// Why the notification cannot be true, if it cannot.
    fn contradiction(&self, notification: &Notification) -> Option<String> {
        let at = notification.at;
        let dead = self.job.ended.filter(|end| end.at <= at);
        let right = match notification.kind {
            OutcomeKind::Succeeded => {
                let may =
                    matches!(self.job.kind, JobKind::Succeeds(_)) && self.job.ended.is_none_or(|end| end.succeeded);
                may && !self.lives(at)
            }
            OutcomeKind::Failed => {
                let failed = self.job.ended.is_some_and(|end| !end.succeeded && end.at <= at + TERMINATION_GRACE);
                // It ended before the campaign could find its process.
                let unseen = self.job.started.is_none() && !matches!(self.job.kind, JobKind::Succeeds(_));
                failed || unseen || self.was_evicted(at) || (!self.lives(at) && self.was_unhealthy(at))
            }
            OutcomeKind::Lost if notification.reason == reason::JOB_DELETED => self.was_deleted(at),
            OutcomeKind::Deleted => self.was_deleted(at),
            OutcomeKind::Lost | OutcomeKind::AttemptFailed => {
                let cut_off = self.is_cut_off(at) && !(self.lives(at) && self.is_in_storm(at));
                self.cannot_start(notification)
                    || cut_off
                    || (dead.is_some() && self.reason_fits(notification))
                    || self.never_started(notification)
            }
            OutcomeKind::Recovered => self.job.started.is_some(),
            // A verdict that a guard holds is reported as this.
            OutcomeKind::Suspect => self.job.kind == JobKind::MissingImage || self.is_disturbed(at),
        };
        (!right).then(|| format!("{} although {}", text_of(notification), self.truth(at)))
    }

    /// Whether its worker was seen and is running at this time.
    fn lives(&self, at: CampaignTime) -> bool {
        self.job.started.is_some() && self.job.ended.is_none_or(|end| end.at > at)
    }

    fn was_deleted(&self, at: CampaignTime) -> bool {
        self.job.deleted.is_some_and(|deleted| deleted <= at)
    }

    fn was_evicted(&self, at: CampaignTime) -> bool {
        self.job.evicted.is_some_and(|evicted| evicted <= at)
    }

    /// Whether the node was cut off so long that the reaper cannot tell it from a dead one.
    fn is_cut_off(&self, at: CampaignTime) -> bool {
        self.node.periods(Duration::ZERO).iter().any(|(span, condition)| {
            let end = span.end_or(at).min(at);
            let lasted = end.saturating_sub(span.from);
            *condition == Condition::CutOff && at <= end + SIGNALS_RESUME && lasted + LAST_SIGN >= self.lost_after
        })
    }

    /// Whether so many Jobs went silent together with it that the breaker has to hold.
    fn is_in_storm(&self, at: CampaignTime) -> bool {
        self.history.storms.iter().any(|(span, silent)| {
            *silent >= BREAKER_HOLDS && span.from <= at && span.until.is_none_or(|until| at <= until + SIGNALS_RESUME)
        })
    }

    /// Whether the node was unhealthy at any time since the worker's end, or since the Job's creation if no end was seen.
    /// Then the true outcome may be unknown to everybody.
    fn was_unhealthy(&self, at: CampaignTime) -> bool {
        let since = self.job.ended.map_or(self.job.submitted, |end| end.at).saturating_sub(TERMINATION_GRACE);
        let periods = self.node.periods(since);
        periods.iter().any(|(span, condition)| *condition != Condition::Healthy && span.from <= at)
    }

    /// Whether a dead worker is lost for the reason in the notification.
    fn reason_fits(&self, notification: &Notification) -> bool {
        let at = notification.at;
        let since = self.job.ended.map_or(at, |end| end.at).saturating_sub(self.lost_after);
        let was = |condition| self.node.was_in(condition, since, at);
        match notification.reason.as_str() {
            reason::NODE_UNREACHABLE => was(Condition::CutOff),
            reason::OUTCOME_UNKNOWN => was(Condition::NoKubelet) || was(Condition::CutOff),
            reason::PROCESS_GONE => was(Condition::Frozen) || was(Condition::NoKubelet) || was(Condition::Recovering),
            reason::NODE_GONE => self.node.deleted.iter().any(|span| span.from <= at),
            _ => false,
        }
    }

    /// Whether its image is missing and start-timeout is over. A busy kubelet may not have reported the missing image until
    /// then, so both reasons are right, whatever the condition of the node.
    fn cannot_start(&self, notification: &Notification) -> bool {
        let fits = matches!(notification.reason.as_str(), reason::IMAGE_PULL_FAILED | reason::START_TIMEOUT);
        let over = notification.at + WHOLE_SECONDS >= self.job.submitted + START_TIMEOUT;
        self.job.kind == JobKind::MissingImage && fits && over
    }

    /// Whether no worker of it was ever seen on an unhealthy node, for as long as the reason requires. `NodeGone` requires no
    /// time: deleting a Node object states that nothing runs on the node.
    fn never_started(&self, notification: &Notification) -> bool {
        let after = match notification.reason.as_str() {
            reason::NODE_GONE if self.reason_fits(notification) => Duration::ZERO,
            reason::NODE_UNREACHABLE | reason::OUTCOME_UNKNOWN => self.lost_after.saturating_sub(LAST_SIGN),
            _ => return false,
        };
        let at = notification.at;
        self.job.started.is_none() && self.was_unhealthy(at) && at + TERMINATION_GRACE >= self.job.submitted + after
    }

    /// Whether something kept the worker's signals from the reaper, so that a notice about it is right.
    fn is_disturbed(&self, at: CampaignTime) -> bool {
        let since = at.saturating_sub(self.lost_after + SIGNALS_RESUME);
        let spans = self.job.sidecar_blocked.iter().chain(&self.node.blocked);
        let spans = spans.chain(&self.history.disruptions).chain(&self.history.agentless);
        spans.into_iter().any(|span| span.overlaps(since, at))
            || self.node.periods(since).iter().any(|(span, it)| *it != Condition::Healthy && span.from <= at)
    }

    fn may_be_redelivered(&self, notification: &Notification) -> bool {
        let (from, until) = (notification.at.saturating_sub(REDELIVERY), notification.at + REDELIVERY);
        self.history.disruptions.iter().any(|span| span.overlaps(from, until))
            || self.history.terms.iter().any(|term| *term + REDELIVERY >= notification.at && *term <= until)
    }

    /// What was true at this time, as text.
    fn truth(&self, at: CampaignTime) -> String {
        let worker = match (self.job.started, self.job.ended) {
            (_, Some(end)) if end.at <= at && end.succeeded => format!("its worker exited with 0 at {}", clock(end.at)),
            (_, Some(end)) if end.at <= at => format!("its worker failed or was killed at {}", clock(end.at)),
            (Some(_), _) => "its worker is running".to_owned(),
            (None, _) => "no worker of it was ever seen".to_owned(),
        };
        format!("{worker}, and {} is {:?}", self.job.node, self.node.condition_at(at))
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
