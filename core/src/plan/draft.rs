//! The bodies of outcomes and the messages of Events.

use jobwarden_common::{
    names::reason,
    notification::{Attempt, Cause, CauseKind, DecidedBy, Fact, NoLogs, OutcomeData, OutcomeKind},
};

use super::{messages::Messages, step::LogPlan};
use crate::{
    causes::{self, DeletionFacts},
    evidence::{JobKind, PodEvidence, PodPhase},
    explain,
    guard::Hold,
    moment::Moment,
    snapshot::{JobSnapshot, PastAttempt},
    verdict::{EndReason, JobVerdict, JudgedPod, Judgement, LostReason, PodVerdict, Row, StuckState},
};

/// The Job controller's reason for a Job that ran too long (`JobReasonDeadlineExceeded` in `batch/v1`).
const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";

/// Writes about one Job at one moment.
#[derive(Clone, Copy)]
pub(super) struct Drafter<'a> {
    pub(super) snapshot: &'a JobSnapshot,
    pub(super) judgement: &'a Judgement,
    pub(super) now: Moment,
}

impl<'a> Drafter<'a> {
    /// A lost pod whose Job is failed.
    pub(super) fn lost(&self, judged: JudgedPod<'_>, reason: LostReason, refusal: Option<&str>) -> OutcomeData {
        let consequence = match (refusal, self.kind()) {
            (Some(refusal), JobKind::Job) => refused("The Job could not be failed", refusal),
            (Some(refusal), JobKind::BarePod) => refused("It could not be deleted", refusal),
            (None, JobKind::Job) => "The Job was failed.".to_owned(),
            (None, JobKind::BarePod) => "It is being deleted.".to_owned(),
        };
        let message = format!("{} {consequence}", self.messages().lost(judged, reason));
        self.about_pod(OutcomeKind::Lost, judged, PodVerdict::Lost(reason), reason.as_str(), message)
    }

    /// A lost pod whose Job goes on.
    pub(super) fn attempt_failed(
        &self,
        judged: JudgedPod<'_>,
        reason: LostReason,
        is_removed: bool,
        refusal: Option<&str>,
    ) -> OutcomeData {
        let sentence = self.messages().lost(judged, reason);
        let removal = match refusal {
            Some(refusal) => refused("It could not be deleted", refusal),
            None if is_removed => "It was deleted; the Job's own rules decide on a retry.".to_owned(),
            None => "It is deleted once the scheduler places no further pod on its node, within a minute; the Job's own rules decide \
                     on a retry."
                .to_owned(),
        };
        let message = format!("{sentence} {removal}");
        self.about_pod(OutcomeKind::AttemptFailed, judged, PodVerdict::Lost(reason), reason.as_str(), message)
    }

    /// A lost pod that is left alone, by policy or because a guard holds the loss.
    pub(super) fn loss_without_action(
        &self,
        judged: JudgedPod<'_>,
        reason: LostReason,
        hold: Option<Hold>,
    ) -> OutcomeData {
        let why = match hold {
            Some(hold) => format!("No action is taken for now: held by guard {hold}."),
            None => "No action is taken: on-lost is report.".to_owned(),
        };
        let message = format!("{} {why}", self.messages().lost(judged, reason));
        self.about_pod(OutcomeKind::Suspect, judged, PodVerdict::Lost(reason), reason.as_str(), message)
    }

    /// A pod that no signal shows alive.
    pub(super) fn unseen(&self, judged: JudgedPod<'_>) -> OutcomeData {
        let message = self.messages().unseen(judged);
        self.about_pod(OutcomeKind::Suspect, judged, PodVerdict::Unseen, reason::UNSEEN, message)
    }

    /// A pod whose beat is late.
    pub(super) fn late(&self, judged: JudgedPod<'_>) -> OutcomeData {
        let message = self.messages().late(judged);
        self.about_pod(OutcomeKind::Suspect, judged, PodVerdict::Suspect, reason::HEARTBEAT_LATE, message)
    }

    /// A pod whose sidecar keeps it from starting.
    pub(super) fn sidecar_blocks(&self, judged: JudgedPod<'_>, says: Option<&str>) -> OutcomeData {
        let message = self.messages().sidecar_blocks(judged, says);
        self.about_pod(OutcomeKind::Suspect, judged, PodVerdict::SidecarBlocks, reason::SIDECAR_FAULT, message)
    }

    /// A pod in a stuck state.
    pub(super) fn stuck(&self, judged: JudgedPod<'_>, stuck: StuckState) -> OutcomeData {
        let message = self.messages().stuck_state(judged, stuck);
        let mut data = self.about_pod(OutcomeKind::Suspect, judged, judged.verdict, stuck.as_str(), message);
        data.decided_by = decided_by(stuck.row());
        data
    }

    /// A lost pod that may have no replacement before its node is back.
    pub(super) fn stranded(&self, judged: JudgedPod<'_>) -> OutcomeData {
        let message = self.messages().stranded(judged);
        let mut data = self.about_pod(OutcomeKind::Suspect, judged, judged.verdict, reason::STRANDED, message);
        data.decided_by = decided_by(Row::S4);
        data
    }

    /// A pod, or the Job that it is of, that is alive after notices for these reasons.
    pub(super) fn recovered(&self, judged: JudgedPod<'_>, over: &[&str]) -> OutcomeData {
        let message = self.messages().recovered(judged, over);
        self.about_pod(OutcomeKind::Recovered, judged, judged.verdict, reason::HEARTBEAT_RESUMED, message)
    }

    /// A Job that could not be failed because the API server refuses it.
    pub(super) fn end_refused(&self, end: EndReason, message: &str, refusal: &str) -> OutcomeData {
        let message = format!("{message} {}", refused("The Job could not be failed", refusal));
        self.about_job(OutcomeKind::Suspect, self.judgement.job, end.as_str(), message)
    }

    /// A Job for which no pod was created.
    pub(super) fn not_starting(&self) -> OutcomeData {
        let message = self.messages().not_starting();
        self.about_job(OutcomeKind::Suspect, JobVerdict::NotStarting, reason::NOT_STARTING, message)
    }

    /// A Job that was deleted before it finished.
    pub(super) fn deleted(&self) -> OutcomeData {
        if self.kind() == JobKind::BarePod {
            return self.bare_pod_deleted();
        }
        let (kind, message) = if self.snapshot.evidence.job.owned {
            (
                OutcomeKind::Deleted,
                "The Job was deleted before it finished; the controller that owns it can replace it.",
            )
        } else {
            (
                OutcomeKind::Lost,
                "The Job was deleted before it finished, and no controller owns it that could replace it.",
            )
        };
        let success = self.earlier_success();
        let message = format!("{message}{}", success.as_deref().unwrap_or_default());
        let mut data = self.about_job(kind, JobVerdict::Deleted, reason::JOB_DELETED, message);
        data.work_may_be_done = success.is_some();
        self.set_attempt(&mut data, self.last_pod());
        let job = self.snapshot.evidence.job.identity.name.clone();
        data.cause = causes::of_deletion(&DeletionFacts { job, ..DeletionFacts::default() });
        data
    }

    /// A bare pod that was deleted before it finished. Its status or its Events may show who deleted it.
    fn bare_pod_deleted(&self) -> OutcomeData {
        let success = self.earlier_success();
        let message = format!("The pod was deleted before it finished.{}", success.as_deref().unwrap_or_default());
        let mut data = self.about_job(OutcomeKind::Deleted, JobVerdict::Deleted, reason::POD_DELETED, message);
        data.work_may_be_done = success.is_some();
        self.set_attempt(&mut data, self.last_pod());
        if data.cause.is_empty() {
            let job = self.snapshot.evidence.job.identity.name.clone();
            data.cause = causes::of_deletion(&DeletionFacts { job, ..DeletionFacts::default() });
        }
        data
    }

    /// A Job that is complete.
    pub(super) fn succeeded(&self) -> OutcomeData {
        let (reason, message) = match self.kind() {
            JobKind::Job => ("Complete", "The Job is complete."),
            JobKind::BarePod => ("PodCompleted", "The pod has succeeded."),
        };
        let mut data = self.about_job(OutcomeKind::Succeeded, JobVerdict::Finished, reason, message.to_owned());
        self.set_attempt(
            &mut data,
            self.pods().find(|judged| judged.pod.phase == PodPhase::Succeeded).map(Subject::Pod),
        );
        data
    }

    /// A Job that failed with `reason`. The reason may be ours if the reaper that wrote the verdict crashed before it recorded the
    /// outcome.
    pub(super) fn failed(&self, verdict: JobVerdict, reason: &str, message: &str) -> OutcomeData {
        let lost = lost_reason(reason);
        let kind = if lost.is_some() { OutcomeKind::Lost } else { OutcomeKind::Failed };
        let mut data = self.about_job(kind, verdict, reason, message.to_owned());
        if let Some(lost) = lost {
            self.set_attempt(&mut data, self.lost_pod(lost));
            data.decided_by = decided_by(PodVerdict::Lost(lost).row());
            if let Some(judged) = self.pods().find(|judged| judged.pod.phase == PodPhase::Succeeded) {
                add_late_success(&mut data, &judged.pod.name);
            }
            return data;
        }
        self.set_attempt(&mut data, self.decisive(reason, message));
        // A finished bare pod has no Job controller that gives a reason of its own.
        if self.kind() == JobKind::Job || verdict == JobVerdict::Ending {
            data.cause = causes::of_failed_job(reason, message, data.cause);
        }
        if let Some(why) = data.cause.sentence() {
            let sentence = data.message.trim_end_matches('.');
            data.message = format!("{sentence}. {why}");
        }
        data
    }

    /// Whether an outcome has the last log lines of its attempt. A node that is gone or does not renew its Lease does not answer.
    pub(super) fn logs(&self, data: &OutcomeData) -> LogPlan {
        let is_end = matches!(data.kind, OutcomeKind::Failed | OutcomeKind::Lost | OutcomeKind::AttemptFailed);
        let attempt = data.attempt.as_ref().filter(|_| is_end && self.snapshot.policy.include_logs);
        let Some(attempt) = attempt else { return LogPlan::Omit };
        let Some(judged) = self.pods().find(|judged| judged.pod.uid == attempt.pod_uid) else {
            return LogPlan::Unavailable(NoLogs::PodGone);
        };
        let Some(node) = &judged.pod.node else { return LogPlan::Unavailable(NoLogs::NotStarted) };
        let is_stale = judged.signals().lease.is_some_and(|lease| lease.is_stale);
        if is_stale || node.state.gone_since().is_some() {
            LogPlan::Unavailable(NoLogs::NodeNotAnswering)
        } else {
            LogPlan::Read
        }
    }

    pub(super) fn messages(&self) -> Messages<'a> {
        Messages { kind: self.kind(), policy: &self.snapshot.policy, now: self.now }
    }

    fn kind(&self) -> JobKind {
        self.snapshot.evidence.job.identity.kind
    }

    fn pods(&self) -> impl DoubleEndedIterator<Item = JudgedPod<'a>> + use<'a> {
        self.judgement.judged_pods(&self.snapshot.evidence, &self.snapshot.policy)
    }

    /// The pod because of which we failed a Job: the last one that we marked Failed, else the last that has not ended, else the last
    /// that failed.
    fn lost_pod(&self, lost: LostReason) -> Option<Subject<'a>> {
        let failed = |judged: &JudgedPod<'_>| judged.pod.phase == PodPhase::Failed;
        let marked_failed =
            |judged: &JudgedPod<'_>| failed(judged) && judged.pod.cause.reason.as_deref() == Some(lost.as_str());
        let last = |is: &dyn Fn(&JudgedPod<'_>) -> bool| self.pods().rev().find(is);
        let pod = last(&marked_failed).or_else(|| last(&|judged| !judged.pod.has_ended())).or_else(|| last(&failed));
        pod.map(Subject::Pod).or_else(|| self.past())
    }

    /// The pod that best explains why Kubernetes failed the Job: the one that its message names; else the last to end of those whose
    /// cause is their own and not the end of the Job; else the last that has not ended.
    fn decisive(&self, reason: &str, message: &str) -> Option<Subject<'a>> {
        let named = causes::named_pod(message, &self.snapshot.evidence.job.identity.namespace);
        let named = named.and_then(|name| self.ended_pods().find(|pod| pod.name() == name));
        let own = |subject: &Subject<'_>| !matches!(subject.cause().kind, None | Some(CauseKind::Deleted));
        // A deadline ends the attempt that runs then, whatever happened to earlier attempts.
        let by_deadline = reason == DEADLINE_EXCEEDED;
        // A pod that could not start has no time at which it ended. It waited until the deadline, unless another pod ran until then.
        let is_kind = |subject: &Subject<'_>, is: fn(CauseKind) -> bool| subject.cause().kind.is_some_and(is);
        let none_ran = by_deadline && !self.ended_pods().any(|pod| is_kind(&pod, |kind| kind == CauseKind::Deleted));
        let last = || {
            self.ended_pods().enumerate().max_by(|(at, one), (other_at, other)| {
                let key = |subject: &Subject<'_>, at: usize| {
                    let cause = subject.cause();
                    let waited = none_ran && cause.finished_at.is_none() && is_kind(subject, causes::could_not_start);
                    (!cause.is_empty(), waited, own(subject) && !by_deadline, cause.finished_at.clone(), at)
                };
                key(one, *at).cmp(&key(other, *other_at))
            })
        };
        named
            .or_else(|| last().map(|(_, subject)| subject))
            .or_else(|| self.pods().rev().find(|judged| !judged.pod.has_ended()).map(Subject::Pod))
    }

    /// The last pod of a Job that did not finish.
    fn last_pod(&self) -> Option<Subject<'a>> {
        let live = self.pods().rev().find(|judged| !judged.pod.has_ended()).map(Subject::Pod);
        live.or_else(|| self.pods().next_back().map(Subject::Pod)).or_else(|| self.past())
    }

    /// The addition to the message of a deleted Job whose work was done before. Some of many pods do not make the work of the Job: none
    /// may be left that works, or waits to.
    fn earlier_success(&self) -> Option<String> {
        let mut pods = self.pods().filter(|judged| judged.pod.phase != PodPhase::Failed).peekable();
        let name = match pods.peek() {
            Some(first) => &first.pod.name,
            None => &self.snapshot.past.as_ref().filter(|past| past.work_done)?.attempt.pod_name,
        };
        pods.all(|judged| judged.pod.work_done).then(|| {
            format!(" Pod {name} had succeeded before: every container that does the work ended with exit code 0, so its work may be done.")
        })
    }

    /// The pods that have failed, the one whose object is gone first.
    fn ended_pods(&self) -> impl Iterator<Item = Subject<'a>> {
        let failed = self.pods().filter(|judged| judged.pod.phase == PodPhase::Failed).map(Subject::Pod);
        self.past().into_iter().chain(failed)
    }

    fn past(&self) -> Option<Subject<'a>> {
        self.snapshot.past.as_ref().map(Subject::PastAttempt)
    }

    /// Completes an outcome with the attempt that it is about.
    fn set_attempt(&self, data: &mut OutcomeData, subject: Option<Subject<'_>>) {
        let Some(subject) = subject else { return };
        data.cause = subject.cause().clone();
        match subject {
            Subject::Pod(judged) => {
                data.attempt = Some(attempt(judged.pod));
                data.evidence.extend(explain::facts(judged, self.now));
            }
            Subject::PastAttempt(past) => {
                data.attempt = Some(past.attempt.clone());
                data.evidence.push(Fact { of: "pod".to_owned(), is: "the object is gone".to_owned() });
            }
        }
    }

    fn about_pod(
        &self,
        kind: OutcomeKind,
        judged: JudgedPod<'_>,
        verdict: PodVerdict,
        reason: &str,
        message: String,
    ) -> OutcomeData {
        let mut data = self.base(kind, verdict.row(), reason, message);
        self.set_attempt(&mut data, Some(Subject::Pod(judged)));
        if let PodVerdict::Lost(reason) = verdict {
            data.cause = causes::of_loss(reason, judged.pod);
        } else if let (Some(problem), true) = (&judged.pod.start_problem, data.cause.is_empty()) {
            data.cause = causes::of_start_problem(problem);
        }
        data
    }

    fn about_job(&self, kind: OutcomeKind, verdict: JobVerdict, reason: &str, message: String) -> OutcomeData {
        // `Open`, the only verdict without a row, has no outcome about the Job.
        let row = verdict.row().unwrap_or(Row::P11);
        self.base(kind, row, reason, message)
    }

    fn base(&self, kind: OutcomeKind, row: Row, reason: &str, message: String) -> OutcomeData {
        let identity = &self.snapshot.evidence.job.identity;
        OutcomeData {
            kind,
            namespace: identity.namespace.clone(),
            job_name: identity.name.clone(),
            job_uid: identity.uid.clone(),
            run_id: identity.run_id.clone(),
            job_id: identity.job_id.clone(),
            trace_id: identity.trace_id.clone(),
            attempt: None,
            reason: reason.to_owned(),
            message,
            work_may_be_done: false,
            cause: Cause::default(),
            decided_by: decided_by(row),
            evidence: vec![Fact { of: "job".to_owned(), is: explain::job(&self.snapshot.evidence.job) }],
            timeline: self.snapshot.timeline.clone(),
            usage: self.snapshot.usage.clone(),
            logs: None,
            coalesced: None,
        }
    }
}

/// The attempt that an outcome is about.
#[derive(Clone, Copy)]
enum Subject<'a> {
    /// Its pod exists.
    Pod(JudgedPod<'a>),
    /// The object of its pod is gone.
    PastAttempt(&'a PastAttempt),
}

impl<'a> Subject<'a> {
    fn cause(self) -> &'a Cause {
        match self {
            Self::Pod(judged) => &judged.pod.cause,
            Self::PastAttempt(past) => &past.cause,
        }
    }

    fn name(self) -> &'a str {
        match self {
            Self::Pod(judged) => &judged.pod.name,
            Self::PastAttempt(past) => &past.attempt.pod_name,
        }
    }
}

fn decided_by(row: Row) -> DecidedBy {
    DecidedBy { row: row.to_string(), rule: row.rule().to_owned() }
}

fn attempt(pod: &PodEvidence) -> Attempt {
    Attempt {
        pod_uid: pod.uid.clone(),
        pod_name: pod.name.clone(),
        node: pod.node.as_ref().map(|node| node.name.clone()),
    }
}

/// That the API server refuses what follows from a verdict.
fn refused(what: &str, refusal: &str) -> String {
    format!("{what}: the API server refuses it ({refusal}). It is tried again.")
}

/// Adds to the outcome of a lost Job that its pod succeeded while the Job was being failed.
pub fn add_late_success(data: &mut OutcomeData, pod: &str) {
    data.work_may_be_done = true;
    for part in [" Pod ", pod, " succeeded in the same moment: its work may be done."] {
        data.message.push_str(part);
    }
}

/// The loss that `word` names; `None` if the reason in a condition was not written by us.
pub(super) fn lost_reason(word: &str) -> Option<LostReason> {
    const ALL: [LostReason; reason::LOST.len()] = [
        LostReason::NodeGone,
        LostReason::NodeUnreachable,
        LostReason::ProcessGone,
        LostReason::OutcomeUnknown,
        LostReason::HeartbeatLost,
        LostReason::ImagePullFailed,
        LostReason::CreateFailed,
        LostReason::StartTimeout,
        LostReason::Stalled,
        LostReason::Unschedulable,
        LostReason::InitTimeout,
    ];
    ALL.into_iter().find(|reason| reason.as_str() == word)
}

#[cfg(test)]
mod tests;
