//! The body of an outcome: what is said of whom, and why.

use jobwarden_common::{
    names::reason,
    notification::{Attempt, Cause, CauseKind, DecidedBy, Fact, OutcomeData, OutcomeKind},
};

use crate::{
    causes::{self, DeletionFacts},
    evidence::{JobKind, LastBeat, PodEvidence, PodPhase, Sidecar},
    explain,
    guard::Hold,
    moment::Moment,
    snapshot::{JobSnapshot, PastAttempt},
    verdict::{JobVerdict, LostReason, PodVerdict, Row},
};

/// The Job controller's word for a Job that took too long (`JobReasonDeadlineExceeded` in `batch/v1`).
const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";

/// What is said of one Job at one moment.
#[derive(Clone, Copy)]
pub(super) struct Drafter<'a> {
    pub(super) snapshot: &'a JobSnapshot,
    pub(super) now: Moment,
}

impl Drafter<'_> {
    /// Why a pod is lost, in a sentence.
    pub(super) fn lost_sentence(&self, pod: &PodEvidence, reason: LostReason) -> String {
        let on = pod.node.as_ref().map(|node| format!(" on node {}", node.name)).unwrap_or_default();
        let rule = PodVerdict::Lost(reason).row().rule();
        format!("Pod {}{on} is lost: {rule} ({}).", pod.name, self.witnesses(pod))
    }

    /// The evidence in a line.
    pub(super) fn witnesses(&self, pod: &PodEvidence) -> String {
        let facts = explain::facts(pod, &self.snapshot.policy, self.now);
        let said: Vec<_> = facts.iter().map(|fact| format!("{}: {}", fact.of, fact.is)).collect();
        said.join("; ")
    }

    /// Of a lost pod, whose Job is failed for it.
    pub(super) fn lost(&self, pod: &PodEvidence, reason: LostReason) -> OutcomeData {
        let message = match self.kind() {
            JobKind::Job => format!("{} The Job was failed.", self.lost_sentence(pod, reason)),
            JobKind::BarePod => format!("{} It is being deleted.", self.lost_sentence(pod, reason)),
        };
        self.of_pod(OutcomeKind::Lost, pod, PodVerdict::Lost(reason), reason.as_str(), message)
    }

    /// Of a lost pod, whose Job goes on.
    pub(super) fn attempt_failed(&self, pod: &PodEvidence, reason: LostReason) -> OutcomeData {
        let message =
            format!("{} It was deleted; the Job's own rules decide on a retry.", self.lost_sentence(pod, reason));
        self.of_pod(OutcomeKind::AttemptFailed, pod, PodVerdict::Lost(reason), reason.as_str(), message)
    }

    /// Of a lost pod about which nothing is done, by policy or because a guard holds.
    pub(super) fn lost_but_kept(&self, pod: &PodEvidence, reason: LostReason, hold: Option<Hold>) -> OutcomeData {
        let why = match hold {
            Some(hold) => format!("Nothing is done about it for now: the guard {hold} holds."),
            None => "Nothing is done about it: on-lost says to report only.".to_owned(),
        };
        let message = format!("{} {why}", self.lost_sentence(pod, reason));
        self.of_pod(OutcomeKind::Suspect, pod, PodVerdict::Lost(reason), reason.as_str(), message)
    }

    /// Of a pod that nobody sees.
    pub(super) fn unseen(&self, pod: &PodEvidence) -> OutcomeData {
        let message = self.unseen_sentence(pod);
        self.of_pod(OutcomeKind::Suspect, pod, PodVerdict::Unseen, reason::UNSEEN, message)
    }

    /// That nobody sees a pod, and what may keep it from being seen.
    fn unseen_sentence(&self, pod: &PodEvidence) -> String {
        let seen = format!("Nobody sees pod {} although its node is well ({}).", pod.name, self.witnesses(pod));
        let advice = match (pod.beat, pod.sidecar) {
            (_, Sidecar::Absent) => {
                "It has no sidecar, for admission missed it, and the agent on its node does not tell of it: see whether the \
                 agent runs there."
            }
            (LastBeat::None, _) => {
                "It has never been heard: a NetworkPolicy of its namespace may block egress to the Service jobwarden-reaper, \
                 port 8444; the sidecar's log says why it cannot beat."
            }
            _ => {
                "It was heard before: see whether a NetworkPolicy that blocks egress to the Service jobwarden-reaper, port \
                 8444, is new, or the network of its node is broken."
            }
        };
        format!("{seen} {advice}")
    }

    /// That the beat of a pod is late.
    pub(super) fn late_sentence(&self, pod: &PodEvidence) -> String {
        format!("The beat of pod {} is late ({}).", pod.name, self.witnesses(pod))
    }

    /// That a pod is heard again, `over` if its loss has been recorded.
    pub(super) fn heard_again_sentence(&self, pod: &PodEvidence, over: bool) -> String {
        let heard = format!("Pod {} is heard again ({}).", pod.name, self.witnesses(pod));
        if over {
            format!("{heard} Its loss has been told and stands; its sidecar is told to go silent.")
        } else {
            heard
        }
    }

    /// Of a pod whose beat is late.
    pub(super) fn late(&self, pod: &PodEvidence) -> OutcomeData {
        let message = self.late_sentence(pod);
        self.of_pod(OutcomeKind::Suspect, pod, PodVerdict::Suspect, reason::HEARTBEAT_LATE, message)
    }

    /// Of a Job that got no pod.
    pub(super) fn not_starting(&self) -> OutcomeData {
        let message = self.not_starting_sentence();
        self.of_job(OutcomeKind::Suspect, JobVerdict::NotStarting, reason::NOT_STARTING, message)
    }

    /// Why a Job counts as not starting.
    pub(super) fn not_starting_sentence(&self) -> String {
        let timeout = humantime::format_duration(self.snapshot.policy.start_timeout);
        format!("The Job has had no pod for {timeout}; its Events tell whether quota or admission refuse it.")
    }

    /// Why a Job is overdue.
    pub(super) fn overdue_sentence(&self) -> String {
        let timeout = self.snapshot.policy.active_timeout.map(humantime::format_duration);
        let timeout = timeout.map(|timeout| format!(" of {timeout}")).unwrap_or_default();
        let who = match self.kind() {
            JobKind::Job => "The Job",
            JobKind::BarePod => "The pod",
        };
        format!("{who} has run longer than its active-timeout{timeout}.")
    }

    /// Of a Job that was deleted before it had finished.
    pub(super) fn deleted(&self) -> OutcomeData {
        if self.kind() == JobKind::BarePod {
            return self.bare_pod_deleted();
        }
        let (kind, message) = if self.snapshot.evidence.job.owned {
            (OutcomeKind::Deleted, "The Job was deleted before it had finished; the controller that owns it knows.")
        } else {
            (OutcomeKind::Lost, "The Job was deleted before it had finished, and nobody is left to replace it.")
        };
        let mut data = self.of_job(kind, JobVerdict::Deleted, reason::JOB_DELETED, message.to_owned());
        self.blame(&mut data, self.last_pod());
        let job = self.snapshot.evidence.job.identity.name.clone();
        data.cause = causes::of_deletion(&DeletionFacts { job, ..DeletionFacts::default() });
        data
    }

    /// Of a bare pod that was deleted before it had finished. By whom may be in its status or its Events.
    fn bare_pod_deleted(&self) -> OutcomeData {
        let message = "The pod was deleted before it had finished.".to_owned();
        let mut data = self.of_job(OutcomeKind::Deleted, JobVerdict::Deleted, reason::POD_DELETED, message);
        self.blame(&mut data, self.last_pod());
        if data.cause.is_empty() {
            let job = self.snapshot.evidence.job.identity.name.clone();
            data.cause = causes::of_deletion(&DeletionFacts { job, ..DeletionFacts::default() });
        }
        data
    }

    /// Of a Job that is complete.
    pub(super) fn succeeded(&self) -> OutcomeData {
        let (reason, message) = match self.kind() {
            JobKind::Job => ("Complete", "The Job is complete."),
            JobKind::BarePod => ("PodCompleted", "The pod has succeeded."),
        };
        let mut data = self.of_job(OutcomeKind::Succeeded, JobVerdict::Finished, reason, message.to_owned());
        self.blame(&mut data, self.pods().find(|pod| pod.phase == PodPhase::Succeeded).map(Blamed::Pod));
        data
    }

    /// Of a Job that failed by `reason`, which may be ours: the verdict was written and what wrote it did not live to
    /// record it.
    pub(super) fn failed(&self, verdict: JobVerdict, reason: &str, message: &str) -> OutcomeData {
        let lost = lost_reason(reason);
        let kind = if lost.is_some() { OutcomeKind::Lost } else { OutcomeKind::Failed };
        let mut data = self.of_job(kind, verdict, reason, message.to_owned());
        if let Some(lost) = lost {
            self.blame(&mut data, self.lost_pod(lost));
            data.decided_by = decided_by(PodVerdict::Lost(lost).row());
            if let Some(pod) = self.pods().find(|pod| pod.phase == PodPhase::Succeeded) {
                data.message.push_str(&late_success(&pod.name));
            }
            return data;
        }
        self.blame(&mut data, self.decisive(reason, message));
        // Of a bare pod, no Job controller has another word.
        if self.kind() == JobKind::Job || verdict == JobVerdict::Ending {
            data.cause = causes::of_failed_job(reason, message, data.cause);
        }
        if let Some(why) = data.cause.sentence() {
            let sentence = data.message.trim_end_matches('.');
            data.message = format!("{sentence}. {why}");
        }
        data
    }

    fn kind(&self) -> JobKind {
        self.snapshot.evidence.job.identity.kind
    }

    fn pods(&self) -> impl DoubleEndedIterator<Item = &PodEvidence> {
        self.snapshot.evidence.pods.iter()
    }

    /// The pod for which a Job was failed by our verdict: the last one that was given up, else the last that had not
    /// ended, else the last that failed.
    fn lost_pod(&self, lost: LostReason) -> Option<Blamed<'_>> {
        let failed = |pod: &&PodEvidence| pod.phase == PodPhase::Failed;
        let given_up = |pod: &&PodEvidence| failed(pod) && pod.cause.reason.as_deref() == Some(lost.as_str());
        let last = |is: &dyn Fn(&&PodEvidence) -> bool| self.pods().rev().find(is);
        let pod = last(&given_up).or_else(|| last(&|pod| unended(pod))).or_else(|| last(&failed));
        pod.map(Blamed::Pod).or_else(|| self.past())
    }

    /// The pod that says most about why Kubernetes failed the Job: the one that its message names; else the last to end of
    /// those whose cause is their own, and was not the end of the Job itself; else the last that had not ended.
    fn decisive(&self, reason: &str, message: &str) -> Option<Blamed<'_>> {
        let named = causes::named_pod(message, &self.snapshot.evidence.job.identity.namespace);
        let named = named.and_then(|name| self.ended_pods().find(|pod| pod.name() == name));
        let own = |blamed: &Blamed<'_>| !matches!(blamed.cause().kind, None | Some(CauseKind::Deleted));
        // A deadline ends what runs then, whatever came of the attempts before.
        let by_deadline = reason == DEADLINE_EXCEEDED;
        let last = || {
            self.ended_pods().enumerate().max_by(|(at, one), (other_at, other)| {
                let key = |blamed: &Blamed<'_>, at: usize| {
                    let cause = blamed.cause();
                    (!cause.is_empty(), own(blamed) && !by_deadline, cause.finished_at.clone(), at)
                };
                key(one, *at).cmp(&key(other, *other_at))
            })
        };
        named
            .or_else(|| last().map(|(_, blamed)| blamed))
            .or_else(|| self.pods().rev().find(|pod| unended(pod)).map(Blamed::Pod))
    }

    /// The last pod of a Job that did not come to its end.
    fn last_pod(&self) -> Option<Blamed<'_>> {
        let live = self.pods().rev().find(|pod| unended(pod)).map(Blamed::Pod);
        live.or_else(|| self.pods().next_back().map(Blamed::Pod)).or_else(|| self.past())
    }

    /// The pods that have failed; first the one that is gone.
    fn ended_pods(&self) -> impl Iterator<Item = Blamed<'_>> {
        let failed = self.pods().filter(|pod| pod.phase == PodPhase::Failed).map(Blamed::Pod);
        self.past().into_iter().chain(failed)
    }

    fn past(&self) -> Option<Blamed<'_>> {
        self.snapshot.past.as_ref().map(Blamed::PastAttempt)
    }

    fn blame(&self, data: &mut OutcomeData, blamed: Option<Blamed<'_>>) {
        let Some(blamed) = blamed else { return };
        data.cause = blamed.cause().clone();
        match blamed {
            Blamed::Pod(pod) => {
                data.attempt = Some(attempt(pod));
                data.evidence.extend(explain::facts(pod, &self.snapshot.policy, self.now));
            }
            Blamed::PastAttempt(past) => {
                data.attempt = Some(past.attempt.clone());
                data.evidence.push(Fact { of: "pod".to_owned(), is: "the object is gone".to_owned() });
            }
        }
    }

    fn of_pod(
        &self,
        kind: OutcomeKind,
        pod: &PodEvidence,
        verdict: PodVerdict,
        reason: &str,
        message: String,
    ) -> OutcomeData {
        let mut data = self.base(kind, verdict.row(), reason, message);
        self.blame(&mut data, Some(Blamed::Pod(pod)));
        if let PodVerdict::Lost(reason) = verdict {
            data.cause = causes::of_loss(reason, pod);
        } else if let (Some(problem), true) = (&pod.start_problem, data.cause.is_empty()) {
            data.cause = causes::of_start_problem(problem);
        }
        data
    }

    fn of_job(&self, kind: OutcomeKind, verdict: JobVerdict, reason: &str, message: String) -> OutcomeData {
        // Only verdicts that have a row of their own come here; `Open` leaves the word to pods.
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
            cause: Cause::default(),
            decided_by: decided_by(row),
            evidence: vec![Fact { of: "job".to_owned(), is: explain::job(&self.snapshot.evidence.job) }],
            timeline: self.snapshot.timeline.clone(),
            usage: self.snapshot.usage.clone(),
        }
    }
}

/// A pod that says how its Job ended.
#[derive(Clone, Copy)]
enum Blamed<'a> {
    /// It is there.
    Pod(&'a PodEvidence),
    /// Its object is gone.
    PastAttempt(&'a PastAttempt),
}

impl<'a> Blamed<'a> {
    fn cause(self) -> &'a Cause {
        match self {
            Self::Pod(pod) => &pod.cause,
            Self::PastAttempt(past) => &past.cause,
        }
    }

    fn name(self) -> &'a str {
        match self {
            Self::Pod(pod) => &pod.name,
            Self::PastAttempt(past) => &past.attempt.pod_name,
        }
    }
}

fn unended(pod: &PodEvidence) -> bool {
    matches!(pod.phase, PodPhase::Pending | PodPhase::Running)
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

/// What is added to the message of a lost Job whose pod succeeded while it was being failed.
pub fn late_success(pod: &str) -> String {
    format!(" Pod {pod} succeeded in the same moment: its work may be done.")
}

/// The reason that `word` stands for, if it is one of ours: what marks a condition as written by us.
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
    ];
    ALL.into_iter().find(|reason| reason.as_str() == word)
}

#[cfg(test)]
mod tests;
