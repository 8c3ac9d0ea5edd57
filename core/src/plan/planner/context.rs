//! One planning run: the inputs, the steps planned so far, and what the rows about Jobs and pods share.

use std::collections::BTreeSet;

use jobwarden_common::{identity::PodUid, notification::OutcomeData};

use crate::{
    evidence::PodEvidence,
    guard::{Hold, Holds},
    moment::Moment,
    outcome::{Episode, OutcomeName},
    plan::{
        draft::Drafter,
        step::{Draft, Notice, NoticeKey, PodRef, Recorded, Removal, Step},
    },
    snapshot::JobSnapshot,
    verdict::{JudgedPod, Judgement, LostReason},
};

/// One planning run.
pub(super) struct Planner<'a> {
    pub(super) snapshot: &'a JobSnapshot,
    pub(super) judgement: &'a Judgement,
    pub(super) holds: &'a Holds,
    pub(super) recorded: &'a Recorded,
    pub(super) now: Moment,
    pub(super) drafter: Drafter<'a>,
    pub(super) steps: Vec<Step>,
    /// The notices that are true now. Those that were recorded and are not among them are cleared.
    pub(super) current_notices: BTreeSet<NoticeKey>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        snapshot: &'a JobSnapshot,
        judgement: &'a Judgement,
        holds: &'a Holds,
        recorded: &'a Recorded,
        now: Moment,
    ) -> Self {
        let drafter = Drafter { snapshot, judgement, now };
        let (steps, current_notices) = (Vec::new(), BTreeSet::new());
        Self { snapshot, judgement, holds, recorded, now, drafter, steps, current_notices }
    }

    pub(super) fn judged_pods(&self) -> impl Iterator<Item = JudgedPod<'a>> + use<'a> {
        self.judgement.judged_pods(&self.snapshot.evidence, &self.snapshot.policy)
    }

    /// The guard that holds the loss of this pod for this reason.
    pub(super) fn hold(&self, pod: &PodUid, reason: LostReason) -> Option<Hold> {
        self.holds.of(pod, reason)
    }

    /// Plans to record an outcome unless it is recorded already. Returns its body in either case.
    pub(super) fn record(&mut self, name: OutcomeName, data: impl FnOnce(&Drafter<'a>) -> OutcomeData) -> OutcomeData {
        let data = data(&self.drafter);
        if !self.recorded.has(&name) {
            let (labels, logs) = (self.snapshot.labels.clone(), self.drafter.logs(&data));
            self.steps.push(Step::Record(Box::new(Draft { name, data: data.clone(), labels, logs })));
        }
        data
    }

    /// The present episode of `subject`, the UID of a pod or of the Job.
    pub(super) fn episode(&self, subject: &str) -> Episode {
        Episode::of(subject, &self.recorded.outcomes)
    }

    /// Whether an attempt is reported as failed in the present episode of its pod.
    pub(super) fn is_failed_attempt(&self, pod: &PodUid) -> bool {
        self.recorded.has(&OutcomeName::attempt_failed(pod, self.episode(pod.as_str())))
    }

    /// Plans an Event unless it was recorded already and has been true since.
    pub(super) fn notify(&mut self, pod: Option<&PodEvidence>, reason: &'static str, message: String) {
        let notice = Notice { pod: pod.map(PodRef::from), reason, message };
        let key = notice.key();
        if !self.recorded.notified.contains(&key) {
            self.steps.push(Step::RecordEvent(notice));
        }
        self.keep_notice(key);
    }

    /// Marks a notice as still true.
    pub(super) fn keep_notice(&mut self, key: NoticeKey) {
        self.current_notices.insert(key);
    }

    /// Plans to clear the notices that are no longer true, so that they are recorded again if they become true again.
    pub(super) fn clear_outdated_notices(&mut self) {
        let outdated = self.recorded.notified.difference(&self.current_notices).cloned();
        self.steps.extend(outdated.map(Step::ClearNotice));
    }

    /// Plans to delete the pods that have not ended and are not being deleted.
    pub(super) fn delete_pods(&mut self, why: Removal) {
        let left = self.snapshot.evidence.pods.iter().filter(|pod| !pod.has_ended() && pod.terminating.is_none());
        self.steps.extend(left.map(|pod| Step::DeletePod { pod: pod.into(), why }));
    }

    pub(super) fn abandon(&mut self, pod: &PodUid) {
        if !self.recorded.abandoned.contains(pod) {
            self.steps.push(Step::Abandon(pod.clone()));
        }
    }
}
