//! Attempts that Kubernetes has replaced or dropped: their loss is history.

use super::context::Planner;
use crate::{
    evidence::PodEvidence,
    judge::is_lost_at,
    policy::OnLost,
    verdict::{JudgedPod, LostReason},
};

impl<'a> Planner<'a> {
    /// Whether the Job controller no longer counts on this pod, because it is being deleted: it has counted the pod as failed
    /// (`isPodFailed` in `pkg/controller/job`), or as many pods as it wants run without it. Then the Job has failed because of this
    /// pod already, or another one does its work.
    pub(super) fn is_dropped(&self, pod: &PodEvidence) -> bool {
        let evidence = &self.snapshot.evidence;
        let is_active = |pod: &&PodEvidence| !pod.has_ended() && pod.terminating.is_none();
        let active = || evidence.pods.iter().filter(is_active).count();
        let wanted = || usize::try_from(evidence.job.wanted_pods).unwrap_or(usize::MAX);
        pod.terminating.is_some() && (!evidence.job.replaces_only_failed || active() >= wanted())
    }

    /// Whether Kubernetes had dropped this pod before it was lost. A pod that was lost already when its deletion was first seen, or
    /// whose loss is recorded, may have been deleted by us.
    pub(super) fn is_history(&self, pod: &PodEvidence) -> bool {
        let Some(terminating) = pod.terminating.filter(|_| self.is_dropped(pod)) else { return false };
        let listening_since = self.snapshot.evidence.listening_since;
        let was_lost = || is_lost_at(pod, listening_since, &self.snapshot.policy, terminating.since);
        !self.is_failed_attempt(&pod.uid) && !was_lost()
    }

    /// Cleans up such a pod where its node cannot: nobody is told of it.
    pub(super) fn clean_up_history(&mut self, judged: JudgedPod<'a>, reason: LostReason) {
        if self.snapshot.policy.on_lost != OnLost::Report && self.hold(&judged.pod.uid, reason).is_none() {
            self.mark_failed(judged, reason, false);
        }
    }
}
