//! The steps that follow from the verdicts on the pods of a Job.

use jobwarden_common::names::reason;

use super::context::Planner;
use crate::{
    evidence::{JobEvidence, PodEvidence, PodPhase, Retries, Sidecar},
    guard::Hold,
    outcome::OutcomeName,
    plan::{
        draft::{Drafter, lost_reason},
        messages::Messages,
        step::Step,
    },
    policy::OnLost,
    verdict::{JobVerdict, JudgedPod, LostReason, PodVerdict},
};

impl<'a> Planner<'a> {
    /// The pods of an open Job.
    pub(super) fn open(&mut self) {
        for judged in self.judged_pods() {
            if let PodVerdict::Lost(reason) = judged.verdict {
                if self.lost(judged, reason) {
                    return;
                }
                continue;
            }
            let is_replaced = self.is_replaced(judged.pod);
            self.not_lost(judged, is_replaced);
            if let Some(stuck) = judged.stuck {
                self.stuck(judged, stuck);
            }
            if matches!(judged.verdict, PodVerdict::Alive { .. }) {
                self.signals_resumed(judged, is_replaced);
            }
        }
    }

    /// Whether the loss of a pod is reported and its removal has begun, so that its loss stands even if it is alive.
    fn is_replaced(&self, pod: &PodEvidence) -> bool {
        let is_removed = pod.terminating.is_some() || self.recorded.abandoned.contains(&pod.uid);
        is_removed && self.is_failed_attempt(&pod.uid)
    }

    /// A pod of an open Job that is not lost; `is_replaced` if its loss has been recorded.
    fn not_lost(&mut self, judged: JudgedPod<'a>, is_replaced: bool) {
        let pod = judged.pod;
        match judged.verdict {
            PodVerdict::Alive { .. } | PodVerdict::Unseen | PodVerdict::Suspect if is_replaced => {
                self.abandon(&pod.uid);
            }
            PodVerdict::Alive { without_beat: true } if pod.sidecar == Sidecar::Absent => {
                let message = Messages::sidecar_missing(pod);
                self.notify(Some(pod), reason::SIDECAR_MISSING, message);
            }
            PodVerdict::SidecarBlocks => {
                self.pod_notice(judged, reason::SIDECAR_FAULT, |drafter| drafter.sidecar_blocks(judged, None));
            }
            PodVerdict::Alive { without_beat: true } => {
                let message = self.drafter.messages().sidecar_fault(judged);
                self.notify(Some(pod), reason::SIDECAR_FAULT, message);
            }
            PodVerdict::Stuck => {
                let message = self.drafter.messages().stuck(judged);
                self.notify(Some(pod), reason::STUCK, message);
            }
            PodVerdict::Unseen if lease_outlived_beat(judged) => {
                self.pod_notice(judged, reason::UNSEEN, |drafter| drafter.unseen(judged));
            }
            PodVerdict::Suspect => {
                if self.snapshot.policy.notify_late {
                    self.record_notice(pod.uid.as_str(), reason::HEARTBEAT_LATE, |drafter| drafter.late(judged));
                }
                self.notify(Some(pod), reason::SUSPECT, self.drafter.messages().late(judged));
            }
            PodVerdict::Finishing | PodVerdict::AttemptFailed => self.remove_leftover(judged),
            PodVerdict::Alive { without_beat: false }
            | PodVerdict::Unseen
            | PodVerdict::Waiting
            | PodVerdict::Lost(_) => {}
        }
    }

    /// A lost pod of an open Job. Returns whether the Job is failed for it, so that its other pods need no steps.
    fn lost(&mut self, judged: JudgedPod<'a>, reason: LostReason) -> bool {
        let pod = judged.pod;
        let job = &self.snapshot.evidence.job;
        if self.is_history(pod) {
            self.clean_up_history(judged, reason);
            return false;
        }
        if reason == LostReason::HeartbeatLost && !lease_outlived_beat(judged) {
            return false;
        }
        let hold = self.hold(&pod.uid, reason);
        // Nothing of a pod that our own sidecar keeps from starting is lost.
        let waits_for_us = reason == LostReason::StartTimeout && pod.sidecar == Sidecar::NotStarted;
        if let Some(says) = self.recorded.sidecar_faults.get(&pod.uid).filter(|_| waits_for_us) {
            self.pod_notice(judged, reason::SIDECAR_FAULT, |drafter| drafter.sidecar_blocks(judged, Some(says)));
            return false;
        }
        if waits_for_us {
            self.steps.push(Step::ConfirmNotOurFault { pod: pod.into() });
        }
        if hold.is_some() || self.snapshot.policy.on_lost == OnLost::Report {
            self.report_loss(judged, reason, hold);
            return false;
        }
        if !self.fails_job(pod) && !self.is_stranded_for_too_long(judged, reason) {
            self.replace(judged, reason);
            return false;
        }
        // A Job that the Job controller has not started cannot be failed; it starts soon, and is evaluated again then.
        if !job.started {
            return false;
        }
        let message = self.drafter.messages().lost(judged, reason);
        let step = Step::FailJob { pod: pod.into(), reason, message: message.clone() };
        let outcome = OutcomeName::job_final(&job.identity.uid);
        // What the API server refuses, it may refuse for ever: the outcome comes first then.
        if let Some(refusal) = self.recorded.refused.get(&None) {
            self.record(outcome, |drafter| drafter.lost(judged, reason, Some(refusal)));
            self.steps.push(step);
        } else {
            self.steps.push(step);
            self.record(outcome, |drafter| drafter.lost(judged, reason, None));
        }
        self.abandon(&pod.uid);
        self.notify(Some(pod), reason.as_str(), message);
        true
    }

    /// Whether the loss of this pod fails its Job.
    fn fails_job(&self, pod: &PodEvidence) -> bool {
        match self.snapshot.policy.on_lost {
            _ if self.is_dropped(pod) => false,
            OnLost::Fail => true,
            OnLost::Report => false,
            OnLost::Retry => self.snapshot.evidence.job.retries == Retries::Exhausted,
        }
    }

    /// Reports a lost pod that is left alone, by policy or because a guard holds the loss.
    fn report_loss(&mut self, judged: JudgedPod<'a>, reason: LostReason, hold: Option<Hold>) {
        let pod = judged.pod;
        // The loss was reported as a failed attempt, which is more than a suspicion.
        if self.is_failed_attempt(&pod.uid) {
            return;
        }
        let loss = reason.as_str();
        // A loss that was held and is then left alone by policy is news.
        let (word, key) = match hold {
            Some(_) => (reason::HELD, format!("{}{loss}", reason::HELD)),
            None => (loss, loss.to_owned()),
        };
        let draft = |drafter: &Drafter<'a>| drafter.loss_without_action(judged, reason, hold);
        let data = self.record_notice(pod.uid.as_str(), &key, draft);
        self.notify(Some(pod), word, data.message);
    }

    /// Cleans up the lost pods that are terminating: their nodes cannot end them, and their Job would wait for as long as the nodes
    /// are away.
    pub(super) fn clean_up_terminating_pods(&mut self) {
        let is_ending = matches!(self.judgement.job, JobVerdict::Ending | JobVerdict::Finished);
        for judged in self.judged_pods() {
            match judged.verdict {
                PodVerdict::Lost(reason)
                    if judged.pod.terminating.is_some() && self.hold(&judged.pod.uid, reason).is_none() =>
                {
                    self.mark_failed(judged, reason, is_ending);
                    self.abandon(&judged.pod.uid);
                }
                PodVerdict::Finishing | PodVerdict::AttemptFailed => self.remove_leftover(judged),
                _ => {}
            }
        }
    }

    /// Marks a lost pod Failed where a replacement cannot run beside it, and removes it where its processes are known to be gone. A Job
    /// that `is_ending` creates no replacement.
    pub(super) fn mark_failed(&mut self, judged: JudgedPod<'a>, reason: LostReason, is_ending: bool) {
        let pod = judged.pod;
        let is_gone = is_fenced(judged, reason);
        if may_be_marked_failed(judged, reason, &self.snapshot.evidence.job) || (is_ending && is_unreachable(reason)) {
            let message = format!("Marked Failed by jobwarden. {}", self.drafter.messages().lost(judged, reason));
            self.steps.push(Step::MarkPodFailed { pod: pod.into(), reason, message });
        }
        if is_gone {
            self.steps.push(Step::ForceDeletePod { pod: pod.into() });
        }
    }

    /// Removes a pod that was marked Failed but not removed: the reaper that marked it may have crashed in between. Its loss was let
    /// through then, so what is left rests on objects alone.
    fn remove_leftover(&mut self, judged: JudgedPod<'a>) {
        let pod = judged.pod;
        let Some(stuck_at) = judged.signals().stuck_at.filter(|_| pod.phase == PodPhase::Failed) else { return };
        let Some(reason) = pod.cause.reason.as_deref().and_then(lost_reason) else { return };
        if is_fenced(judged, reason) && self.holds.of_objects().is_none() && self.now >= stuck_at {
            self.steps.push(Step::ForceDeletePod { pod: pod.into() });
        }
    }
}

/// Whether nothing tells the processes of a lost pod from those of a pod on a node that is cut off.
pub(super) fn is_unreachable(reason: LostReason) -> bool {
    matches!(reason, LostReason::NodeUnreachable | LostReason::OutcomeUnknown)
}

/// Whether a lost pod of a Job that goes on may be marked Failed, so that Kubernetes creates its replacement.
pub(super) fn may_be_marked_failed(judged: JudgedPod<'_>, reason: LostReason, job: &JobEvidence) -> bool {
    // The kubelet of a stalled or initializing pod is healthy and ends the pod.
    let by_kubelet = matches!(reason, LostReason::Stalled | LostReason::InitTimeout);
    is_fenced(judged, reason) || (job.safe_to_duplicate && !by_kubelet)
}

/// Whether the processes of a lost pod are known to be gone.
fn is_fenced(judged: JudgedPod<'_>, reason: LostReason) -> bool {
    reason.fenced() || judged.signals().agent.gone_since().is_some()
}

/// Whether the node renewed its Lease after the beats expired. If a node fails together with its pods, its Lease stays fresh a little
/// longer: a notice would be about a pod that is lost by the time somebody reads it, and a pod behind a partition shorter than
/// lost-after would be lost. The judge has the pod evaluated again when the Lease would be stale.
fn lease_outlived_beat(judged: JudgedPod<'_>) -> bool {
    let signals = judged.signals();
    signals.lease.is_some_and(|lease| lease.changed >= signals.beat.expires_at)
}
