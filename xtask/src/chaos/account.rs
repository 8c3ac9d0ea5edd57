//! The account: what was told, held against the truth. A pure function; see `docs/design/0004-chaos.md`.

use std::time::Duration;

use jobwarden_common::names::reason;
use jobwarden_common::notification::OutcomeKind;

use super::due::{Due, START_TIMEOUT, due};
use super::history::{At, Condition, History, JobHistory, Kind, NodeHistory, Told};

/// After how long a node that is back has been heard for certain: the longest pause of a sidecar or agent that could not
/// reach the reaper, and a moment.
pub(super) const HEARD_AGAIN: Duration = Duration::from_secs(17);
/// The longest that the latest sign of life may be old when a node is cut off.
const LAST_SIGN: Duration = Duration::from_secs(5);
/// How long a pod may take to end that is told to: Kubernetes counts it as failed from the beginning of that.
const GRACE: Duration = Duration::from_secs(10);
/// How exactly it is known since when a pod has been on its node: Kubernetes writes whole seconds, and answers a moment later.
const WHOLE_SECONDS: Duration = Duration::from_secs(2);
/// As many silent Jobs that the breaker holds for certain: it does above 20, and a few may end by themselves meanwhile.
const FOR_CERTAIN: usize = 24;
/// How long after a leader died or the API server was away a delivery may be repeated: the acknowledgement may not have been
/// written down.
const REPEATED: Duration = Duration::from_mins(1);

/// What a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Wrong,
    Missed,
    Duplicated,
}

/// Where what was told is not what was so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) fault: Fault,
    pub(super) job: String,
    pub(super) why: String,
}

/// A loss that the reaper found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Detection {
    pub(super) job: String,
    pub(super) reason: String,
    pub(super) took: Duration,
}

/// The account of one campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) findings: Vec<Finding>,
    pub(super) detections: Vec<Detection>,
}

/// What is to be said at `now`.
pub(super) fn account(history: &History, told: &[Told], lost_after: Duration, now: At) -> Account {
    let mut account = Account::default();
    for job in &history.jobs {
        let about: Vec<_> = told.iter().filter(|it| it.job == job.name).collect();
        Auditor { history, job, node: &history.nodes[&job.node], lost_after, account: &mut account }.audit(&about, now);
    }
    account
}

/// How many Jobs have an end that has yet to be told.
pub(super) fn outstanding(history: &History, told: &[Told], lost_after: Duration) -> usize {
    let is_told = |job: &JobHistory| told.iter().any(|it| it.job == job.name && it.kind.is_final());
    let untold = history.jobs.iter().filter(|job| !is_told(job));
    untold.filter(|job| due(history, job, &history.nodes[&job.node], lost_after).is_some()).count()
}

struct Auditor<'a> {
    history: &'a History,
    job: &'a JobHistory,
    node: &'a NodeHistory,
    lost_after: Duration,
    account: &'a mut Account,
}

impl Auditor<'_> {
    fn audit(&mut self, about: &[&Told], now: At) {
        let finals: Vec<_> = about.iter().filter(|told| told.kind.is_final()).collect();
        for told in about {
            if let Some(why) = self.contradiction(told) {
                self.find(Fault::Wrong, why);
            }
            if told.deliveries > 1 && !self.may_be_repeated(told) {
                self.find(Fault::Duplicated, format!("{} was delivered {} times", words(told), told.deliveries));
            }
        }
        for further in finals.iter().skip(1) {
            self.find(Fault::Duplicated, format!("after {} came {}", words(finals[0]), words(further)));
        }
        let due = due(self.history, self.job, self.node, self.lost_after);
        match (finals.first(), due) {
            (None, Some(due)) if due.at < now => self.find(
                Fault::Missed,
                format!("nobody was told by {}: {}, at {}", clock(due.at), due.what, clock(due.since)),
            ),
            (Some(told), Some(due)) => self.in_time(told, &due),
            _ => {}
        }
    }

    fn in_time(&mut self, told: &Told, due: &Due) {
        let found = told.kind == OutcomeKind::Lost && told.reason != reason::JOB_DELETED;
        if let Some(took) = told.at.checked_sub(due.since).filter(|_| found) {
            self.account.detections.push(Detection { job: told.job.clone(), reason: told.reason.clone(), took });
        }
        if let Some(late) = told.at.checked_sub(due.at).filter(|late| !late.is_zero()) {
            self.find(
                Fault::Missed,
                format!("{} came {late:.1?} late: {}, at {}", words(told), due.what, clock(due.since)),
            );
        }
    }

    /// Why it cannot be so.
    fn contradiction(&self, told: &Told) -> Option<String> {
        let dead = self.job.ended.filter(|end| end.at <= told.at);
        let right = match told.kind {
            OutcomeKind::Succeeded => {
                let may = matches!(self.job.kind, Kind::Works(_)) && self.job.ended.is_none_or(|end| end.well);
                may && !self.lives(told.at)
            }
            OutcomeKind::Failed => {
                let ends = self.job.ended.is_some_and(|end| !end.well && end.at <= told.at + GRACE);
                // It ended before anybody could look at it.
                let unseen = self.job.started.is_none() && !matches!(self.job.kind, Kind::Works(_));
                ends || unseen || self.was_evicted(told.at) || (!self.lives(told.at) && self.was_unwell(told.at))
            }
            OutcomeKind::Lost if told.reason == reason::JOB_DELETED => self.was_deleted(told.at),
            OutcomeKind::Deleted => self.was_deleted(told.at),
            OutcomeKind::Lost | OutcomeKind::AttemptFailed => {
                let cut_off = self.is_cut_off(told.at) && !(self.lives(told.at) && self.is_in_storm(told.at));
                self.cannot_begin(told)
                    || cut_off
                    || (dead.is_some() && self.reason_fits(told))
                    || self.never_began(told)
            }
            // Of what a guard holds, this is what is told.
            OutcomeKind::Suspect => self.job.kind == Kind::NoImage || self.is_disturbed(told.at),
        };
        (!right).then(|| format!("{} although {}", words(told), self.truth(told.at)))
    }

    /// Whether it is a worker that was seen to live then, and until now.
    fn lives(&self, at: At) -> bool {
        self.job.started.is_some() && self.job.ended.is_none_or(|end| end.at > at)
    }

    fn was_deleted(&self, at: At) -> bool {
        self.job.deleted.is_some_and(|deleted| deleted <= at)
    }

    fn was_evicted(&self, at: At) -> bool {
        self.job.evicted.is_some_and(|evicted| evicted <= at)
    }

    /// Whether nothing of the node could be heard for so long that it cannot be told from a dead one.
    fn is_cut_off(&self, at: At) -> bool {
        self.node.stretches(Duration::ZERO).iter().any(|(span, condition)| {
            let end = span.ends(at).min(at);
            let lasted = end.saturating_sub(span.from);
            *condition == Condition::Cut && at <= end + HEARD_AGAIN && lasted + LAST_SIGN >= self.lost_after
        })
    }

    /// Whether so many fell silent with it that the breaker has to hold.
    fn is_in_storm(&self, at: At) -> bool {
        self.history.storms.iter().any(|(span, silent)| {
            *silent >= FOR_CERTAIN && span.from <= at && span.until.is_none_or(|until| at <= until + HEARD_AGAIN)
        })
    }

    /// Whether the node has not been well all the time since the end, or the beginning where no end was seen: nobody may be
    /// able to tell how that was.
    fn was_unwell(&self, at: At) -> bool {
        let since = self.job.ended.map_or(self.job.submitted, |end| end.at).saturating_sub(GRACE);
        let conditions = self.node.stretches(since);
        conditions.iter().any(|(span, condition)| *condition != Condition::Well && span.from <= at)
    }

    /// Whether a dead worker is lost for the reason that is told.
    fn reason_fits(&self, told: &Told) -> bool {
        let since = self.job.ended.map_or(told.at, |end| end.at).saturating_sub(self.lost_after);
        let was = |condition| self.node.was(condition, since, told.at);
        match told.reason.as_str() {
            reason::NODE_UNREACHABLE => was(Condition::Cut),
            reason::OUTCOME_UNKNOWN => was(Condition::NoKubelet) || was(Condition::Cut),
            reason::PROCESS_GONE => was(Condition::Frozen) || was(Condition::NoKubelet) || was(Condition::Recovering),
            reason::NODE_GONE => self.node.deleted.iter().any(|span| span.from <= told.at),
            _ => false,
        }
    }

    /// Whether its image is missing, and its pod was given as long as it has to start. A kubelet that has much to do may not have
    /// said why until then, on however well a node.
    fn cannot_begin(&self, told: &Told) -> bool {
        let fits = matches!(told.reason.as_str(), reason::IMAGE_PULL_FAILED | reason::START_TIMEOUT);
        self.job.kind == Kind::NoImage && fits && told.at + WHOLE_SECONDS >= self.job.submitted + START_TIMEOUT
    }

    /// Whether no worker of it was ever seen on a node that was not well, for as long as the reason asks for. Whoever deletes a
    /// node says at once that nothing runs there.
    fn never_began(&self, told: &Told) -> bool {
        let after = match told.reason.as_str() {
            reason::NODE_GONE if self.reason_fits(told) => Duration::ZERO,
            reason::NODE_UNREACHABLE | reason::OUTCOME_UNKNOWN => self.lost_after.saturating_sub(LAST_SIGN),
            _ => return false,
        };
        self.job.started.is_none() && self.was_unwell(told.at) && told.at + GRACE >= self.job.submitted + after
    }

    /// Whether something kept the worker from being heard, so that a notice of that is no fault.
    fn is_disturbed(&self, at: At) -> bool {
        let since = at.saturating_sub(self.lost_after + HEARD_AGAIN);
        let spans = self.job.muted.iter().chain(&self.node.walled);
        let spans = spans.chain(&self.history.upheavals).chain(&self.history.agentless);
        spans.into_iter().any(|span| span.meets(since, at))
            || self.node.stretches(since).iter().any(|(span, it)| *it != Condition::Well && span.from <= at)
    }

    fn may_be_repeated(&self, told: &Told) -> bool {
        self.history.upheavals.iter().any(|span| span.meets(told.at.saturating_sub(REPEATED), told.at + REPEATED))
            || self.history.terms.iter().any(|term| *term + REPEATED >= told.at && *term <= told.at + REPEATED)
    }

    /// What was so, for people.
    fn truth(&self, at: At) -> String {
        let worker = match (self.job.started, self.job.ended) {
            (_, Some(end)) if end.at <= at && end.well => format!("its worker exited 0 at {}", clock(end.at)),
            (_, Some(end)) if end.at <= at => format!("its worker was killed or failed at {}", clock(end.at)),
            (Some(_), _) => "its worker lives".to_owned(),
            (None, _) => "no worker of it was ever seen".to_owned(),
        };
        format!("{worker}, and {} is {:?}", self.job.node, self.node.at(at))
    }

    fn find(&mut self, fault: Fault, why: String) {
        self.account.findings.push(Finding { fault, job: self.job.name.clone(), why });
    }
}

fn words(told: &Told) -> String {
    format!("{} {} at {}", told.kind, told.reason, clock(told.at))
}

/// A time of the campaign as people read it.
pub(super) fn clock(at: At) -> String {
    let seconds = at.as_secs();
    format!("{:02}:{:02}.{}", seconds / 60, seconds % 60, at.subsec_millis() / 100)
}

#[cfg(test)]
mod tests;
