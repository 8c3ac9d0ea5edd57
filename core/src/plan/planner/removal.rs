//! When a lost pod of a Job that retries is removed, and what happens if nothing may replace it.
//!
//! Kubernetes notices a silent node later than jobwarden: its scheduler goes on placing pods there until the node is not ready, 50 s after
//! the last renewal of the Lease. A replacement that is created earlier may be bound to the dead node and cost the Job another attempt.

use std::time::Duration;

use jobwarden_common::names::reason;

use super::{
    context::Planner,
    pod::{is_unreachable, may_be_marked_failed},
};
use crate::{
    evidence::{JobEvidence, NodeState},
    moment::Moment,
    outcome::OutcomeName,
    plan::step::{Removal, Step},
    policy::OnLost,
    snapshot::JobSnapshot,
    verdict::{JobVerdict, JudgedPod, Judgement, LostReason, PodVerdict},
};

/// How long after the last change of its Lease a node that is still ready and not cordoned is waited for. Kubernetes marks it not ready
/// 50 s after that change (`--node-monitor-grace-period`), at most 55 s. A loss comes 20 s after that change at the earliest, so a pod is
/// removed within 60 s of its loss.
pub(crate) const SCHEDULER_AVOIDS_AFTER: Duration = Duration::from_secs(80);

/// The moments at which time alone changes what is done about lost pods.
pub(super) fn moments<'a>(snapshot: &'a JobSnapshot, judgement: &'a Judgement) -> impl Iterator<Item = Moment> + 'a {
    let is_open = matches!(judgement.job, JobVerdict::Open | JobVerdict::NotStarting);
    let lost = judgement.judged_pods(&snapshot.evidence, &snapshot.policy).filter(move |_| is_open);
    lost.filter_map(|judged| {
        let reason = judged.verdict.lost()?;
        match judged.pod.terminating {
            Some(terminating) => Some(terminating.since + snapshot.policy.stranded_after?),
            None => removable_at(judged, reason),
        }
    })
}

/// When a lost pod may be removed, if the scheduler would place its replacement on the same dead node until then.
fn removable_at(judged: JudgedPod<'_>, reason: LostReason) -> Option<Moment> {
    let node = judged.pod.node.as_ref().filter(|_| is_unreachable(reason))?;
    let may_be_chosen = matches!(node.state, NodeState::Ready | NodeState::NotReady) && !node.avoided;
    may_be_chosen.then(|| node.lease_changed + SCHEDULER_AVOIDS_AFTER)
}

impl<'a> Planner<'a> {
    /// Reports a lost pod, and removes it so that its Job can retry.
    pub(super) fn replace(&mut self, judged: JudgedPod<'a>, reason: LostReason) {
        let pod = judged.pod;
        let removed_at = removable_at(judged, reason).filter(|at| pod.terminating.is_none() && self.now < *at);
        let outcome = OutcomeName::attempt_failed(&pod.uid, self.episode(pod.uid.as_str()));
        let refusal = self.recorded.refused.get(&Some(pod.uid.clone())).map(String::as_str);
        // A pod that is removed later is reported now. So is one whose removal the API server may refuse for ever.
        let is_recorded_first = removed_at.is_some() || refusal.is_some();
        if is_recorded_first {
            let is_removed = removed_at.is_none();
            self.record(outcome.clone(), |drafter| drafter.attempt_failed(judged, reason, is_removed, refusal));
        }
        if removed_at.is_none() {
            if pod.terminating.is_none() {
                self.steps.push(Step::DeletePod { pod: pod.into(), why: Removal::Lost });
            }
            self.mark_failed(judged, reason, false);
            if !is_recorded_first {
                self.record(outcome, |drafter| drafter.attempt_failed(judged, reason, true, None));
            }
            self.abandon(&pod.uid);
        }
        if self.is_stranded(judged, reason) {
            self.pod_notice(judged, reason::STRANDED, |drafter| drafter.stranded(judged));
        }
        self.notify(Some(pod), reason.as_str(), self.drafter.messages().lost(judged, reason));
    }

    /// S4: whether a lost pod keeps its Job from going on until its node is back.
    fn is_stranded(&self, judged: JudgedPod<'a>, reason: LostReason) -> bool {
        let JobEvidence { replaces_only_failed, identity, .. } = &self.snapshot.evidence.job;
        let may_have_no_other = *replaces_only_failed && !identity.is_bare();
        may_have_no_other
            && self.snapshot.policy.on_lost == OnLost::Retry
            && is_unreachable(reason)
            && !may_be_marked_failed(judged, reason, &self.snapshot.evidence.job)
    }

    /// Whether a Job has been stranded for stranded-after, and nothing of it is left that may do work: a pod that is not lost goes on.
    pub(super) fn is_stranded_for_too_long(&self, judged: JudgedPod<'a>, reason: LostReason) -> bool {
        let after = self.snapshot.policy.stranded_after.filter(|_| self.is_stranded(judged, reason));
        let Some((after, terminating)) = after.zip(judged.pod.terminating) else { return false };
        let does_no_work = |other: JudgedPod<'_>| {
            other.pod.has_ended() || (matches!(other.verdict, PodVerdict::Lost(_)) && other.pod.terminating.is_some())
        };
        self.now.since(terminating.since) >= after && self.judged_pods().all(does_no_work)
    }
}
