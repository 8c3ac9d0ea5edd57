//! Whether a notification can be true.

use std::time::Duration;

use jobwarden_common::names::reason;
use jobwarden_common::notification::OutcomeKind;

use crate::campaign::clock::clock;
use crate::campaign::deadline::START_TIMEOUT;
use crate::campaign::domains;
use crate::campaign::history::{
    CampaignTime, Condition, End, History, How, JobHistory, JobKind, NodeHistory, Notification,
};

/// How long after its repair a node's signals reach the reaper for certain: the longest pause of a sidecar or agent between
/// two attempts (15 s), and some room.
const SIGNALS_RESUME: Duration = Duration::from_secs(17);
/// The greatest age of the latest sign of life at the moment when a node is cut off.
const LAST_SIGN: Duration = Duration::from_secs(5);
/// How long a terminating pod may take to end. Kubernetes counts it as failed from the start of its termination.
const TERMINATION_GRACE: Duration = Duration::from_secs(10);
/// How long the reaper may count on a pod that the Job no longer wants: what it was told by Kubernetes may be as old as this.
const TOLD: Duration = Duration::from_secs(5);
/// How long a notification may take to be delivered, if the reapers are replaced meanwhile.
const DELIVERY: Duration = Duration::from_mins(2);
/// How long before the end of a worker its Node object may have been deleted.
const DELETED_BEFORE: Duration = Duration::from_mins(1);
/// The precision of the time at which a pod was bound to its node: Kubernetes writes whole seconds, and answers later.
const WHOLE_SECONDS: Duration = Duration::from_secs(2);
/// How long the kubelet itself waits for a hung runtime before the processes count as gone, less the precision of agents.
const HUNG_RUNTIME: Duration = Duration::from_secs(175);

/// What is known of a Job.
#[derive(Clone, Copy)]
pub(super) struct Truth<'a> {
    pub(super) history: &'a History,
    pub(super) job: &'a JobHistory,
    pub(super) node: &'a NodeHistory,
    pub(super) lost_after: Duration,
}

impl Truth<'_> {
    /// Whether the notification does not contradict it.
    pub(super) fn allows(self, notification: &Notification) -> bool {
        let (job, at) = (self.job, notification.at);
        let kind = notification.kind;
        if kind == OutcomeKind::Deleted || (kind == OutcomeKind::Lost && notification.reason == reason::JOB_DELETED) {
            job.was_deleted(at)
        } else if kind == OutcomeKind::Succeeded {
            self.may_have_succeeded(at)
        } else if kind == OutcomeKind::Failed {
            self.may_have_failed(at)
        } else if matches!(kind, OutcomeKind::Lost | OutcomeKind::AttemptFailed) {
            self.may_be_lost(notification)
        } else if kind == OutcomeKind::Suspect {
            // A verdict that a guard holds is reported as this.
            job.kind == JobKind::MissingImage || self.is_disturbed(at)
        } else {
            self.may_live(at)
        }
    }

    /// Whether a pod of the Job may have shown a sign of life lately: its worker ran, or had not started yet, so that its sidecar was
    /// there alone.
    fn may_live(self, at: CampaignTime) -> bool {
        let since = at.saturating_sub(DELIVERY);
        let (job, node) = (self.job, self.node);
        let runs = job.attempts.iter().any(|it| it.started <= at && it.ended.is_none_or(|end| end.at >= since));
        let starts = job.attempts.iter().all(|it| it.started > at) && job.is_open(since.max(job.submitted));
        let connected = node.periods(since).iter().any(|(span, was)| *was != Condition::CutOff && span.from <= at);
        runs || (starts && connected)
    }

    fn may_have_succeeded(self, at: CampaignTime) -> bool {
        let job = self.job;
        let ended_well = job.attempts.iter().any(|attempt| attempt.ended.is_some_and(End::succeeded));
        // A worker that was never found may have run and ended while the API server was away.
        let unseen =
            job.current().is_none() && (job.attempts.is_empty() || (job.bound.is_some() && !job.was_paused(at, at)));
        matches!(job.kind, JobKind::Succeeds(_)) && (ended_well || unseen) && !job.lives(at)
    }

    fn may_have_failed(self, at: CampaignTime) -> bool {
        let job = self.job;
        let failed = job.attempts.iter().filter_map(|attempt| attempt.ended).any(|end| {
            let counts = match end.how {
                How::Exited { succeeded } => !succeeded,
                How::Killed => true,
                // Kubernetes counts no pod that it stops because the Job wants none. A worker that was stopped for no reason is found
                // by itself.
                How::Stopped => !job.was_paused(end.at.saturating_sub(Duration::from_mins(1)), end.at),
            };
            counts && end.at <= at + TERMINATION_GRACE
        });
        // It ended before the campaign could find its process.
        let unseen = job.attempts.is_empty() && !matches!(job.kind, JobKind::Succeeds(_));
        failed || unseen || job.was_evicted(at) || job.was_deleted(at) || (!job.lives(at) && self.was_unhealthy(at))
    }

    fn may_be_lost(self, notification: &Notification) -> bool {
        let (job, at) = (self.job, notification.at);
        let held = job.lives(at) && domains::must_hold(self.history, at, SIGNALS_RESUME);
        let is_dead = job.ended().is_some_and(|end| end.at <= at);
        self.cannot_start(notification)
            || (self.is_cut_off(at) && !held)
            || (is_dead && self.reason_fits(notification))
            || self.never_started(notification)
    }

    /// Whether the node was cut off so long that the reaper cannot tell it from a dead one, while the Job wanted the worker.
    fn is_cut_off(self, at: CampaignTime) -> bool {
        let wanted = self.wanted_until(at);
        self.node.periods(Duration::ZERO).iter().any(|(span, condition)| {
            let end = span.end_or(at).min(at);
            let lasted = end.min(wanted).saturating_sub(span.from);
            *condition == Condition::CutOff && at <= end + SIGNALS_RESUME && lasted + LAST_SIGN >= self.lost_after
        })
    }

    /// Until when the reaper may have counted on a worker of the Job. What Kubernetes has dropped is history.
    fn wanted_until(self, at: CampaignTime) -> CampaignTime {
        let job = self.job;
        let paused = job.pauses.iter().find(|span| span.contains(at)).map(|span| span.from);
        let dropped = job.current().is_none().then(|| job.attempts.last()?.dropped).flatten();
        let pending = job.bound.is_some();
        let until = paused.into_iter().chain(dropped.filter(|_| !pending)).min();
        until.map_or(at, |until| (until + TOLD).min(at))
    }

    /// Whether the node was unhealthy at any time since the worker's end, or since the Job's creation if it had not ended by then or no
    /// end was seen. Then the true outcome may be unknown to everybody.
    fn was_unhealthy(self, at: CampaignTime) -> bool {
        let ended = self.job.ended().filter(|end| end.at.saturating_sub(TERMINATION_GRACE) <= at);
        let since = ended.map_or(self.job.submitted, |end| end.at).saturating_sub(TERMINATION_GRACE);
        self.node.was_unhealthy(since, at)
    }

    /// Whether a dead worker is lost for the reason in the notification.
    fn reason_fits(self, notification: &Notification) -> bool {
        let at = notification.at;
        let ended = self.job.ended().map_or(at, |end| end.at);
        let was = |condition| self.node.was_in(condition, ended.saturating_sub(self.lost_after), at);
        match notification.reason.as_str() {
            reason::NODE_UNREACHABLE => was(Condition::CutOff),
            reason::OUTCOME_UNKNOWN => was(Condition::NoKubelet) || was(Condition::CutOff),
            reason::PROCESS_GONE => {
                let unwell = was(Condition::Frozen) || was(Condition::NoKubelet) || was(Condition::Recovering);
                unwell && at >= ended + HUNG_RUNTIME
            }
            reason::NODE_GONE => self.node_was_gone(ended, at),
            _ => false,
        }
    }

    /// Whether what ran on the node at `since` has ended for certain: its object was deleted, or it has booted again.
    fn node_was_gone(self, since: CampaignTime, at: CampaignTime) -> bool {
        let deleted = |from: CampaignTime| from <= at && from + DELETED_BEFORE >= since;
        self.node.deleted.iter().any(|span| deleted(span.from)) || self.node.booted(since, at)
    }

    /// Whether its image is missing and start-timeout is over. A busy kubelet may not have reported the missing image until
    /// then, so both reasons are right, whatever the condition of the node.
    fn cannot_start(self, notification: &Notification) -> bool {
        let fits = matches!(notification.reason.as_str(), reason::IMAGE_PULL_FAILED | reason::START_TIMEOUT);
        let over = notification.at + WHOLE_SECONDS >= self.job.submitted + START_TIMEOUT;
        self.job.kind == JobKind::MissingImage && fits && over
    }

    /// Whether no worker of it was ever seen on an unhealthy node, for as long as the reason requires. `NodeGone` requires no
    /// time: deleting a Node object, or booting the node again, states that nothing runs on the node.
    fn never_started(self, notification: &Notification) -> bool {
        let (job, at) = (self.job, notification.at);
        let after = match notification.reason.as_str() {
            reason::NODE_GONE if self.node_was_gone(job.submitted, at) => Duration::ZERO,
            reason::NODE_UNREACHABLE | reason::OUTCOME_UNKNOWN => self.lost_after.saturating_sub(LAST_SIGN),
            _ => return false,
        };
        let wanted = self.wanted_until(at) == at;
        let long_enough = at + TERMINATION_GRACE >= job.submitted + after;
        let unseen = job.attempts.iter().all(|attempt| attempt.started > at || job.is_history(attempt));
        wanted && unseen && self.was_unhealthy(at) && long_enough
    }

    /// Whether something kept the worker's signals from the reaper, or the reaper from its writes, so that a notice about it is
    /// right.
    fn is_disturbed(self, at: CampaignTime) -> bool {
        let since = at.saturating_sub(self.lost_after + SIGNALS_RESUME);
        let spans = self.job.sidecar_blocked.iter().chain(&self.node.blocked).chain(&self.history.refusals);
        let spans = spans.chain(&self.history.disruptions).chain(&self.history.agentless);
        spans.into_iter().any(|span| span.overlaps(since, at)) || self.node.was_unhealthy(since, at)
    }

    /// What was true at this time, as text.
    pub(super) fn text(self, at: CampaignTime) -> String {
        let job = self.job;
        let worker = match (job.attempts.last(), job.attempts.last().and_then(|attempt| attempt.ended)) {
            (_, Some(End { at: ended, how })) if ended <= at => {
                let how = match how {
                    How::Exited { succeeded: true } => "exited with 0",
                    How::Exited { succeeded: false } => "failed",
                    How::Killed => "was killed",
                    How::Stopped => "was stopped",
                };
                format!("its worker {how} at {}", clock(ended))
            }
            (Some(attempt), _) if attempt.started <= at => "its worker is running".to_owned(),
            (Some(_), _) => "its worker started later".to_owned(),
            (None, _) => "no worker of it was ever seen".to_owned(),
        };
        let wanted = if self.wanted_until(at) < at { ", its Job wants no pod" } else { "" };
        format!("{worker}{wanted}, and {} is {:?}", job.node, self.node.condition_at(at))
    }
}
