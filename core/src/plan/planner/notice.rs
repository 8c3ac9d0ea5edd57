//! Notices: what is reported once for each subject and reason, and again after a recovery.

use jobwarden_common::{names::reason, notification::OutcomeData};

use super::context::Planner;
use crate::{
    outcome::{Episode, OutcomeName, in_names},
    plan::draft::Drafter,
    verdict::{JobVerdict, JudgedPod, StuckState},
};

impl<'a> Planner<'a> {
    /// Records a notice about `subject`, the UID of a pod or of the Job, once for each reason and episode. Returns its body.
    pub(super) fn record_notice(
        &mut self,
        subject: &str,
        reason: &str,
        data: impl FnOnce(&Drafter<'a>) -> OutcomeData,
    ) -> OutcomeData {
        // A container that has ended stays so, whatever the pod recovers from.
        let episode = if reason == reason::CONTAINER_EXITED { Episode::default() } else { self.episode(subject) };
        self.record(OutcomeName::notice(subject, reason, episode), data)
    }

    /// Records a notice about a pod, with an Event.
    pub(super) fn pod_notice(
        &mut self,
        judged: JudgedPod<'a>,
        reason: &'static str,
        data: impl FnOnce(&Drafter<'a>) -> OutcomeData,
    ) {
        let data = self.record_notice(judged.pod.uid.as_str(), reason, data);
        self.notify(Some(judged.pod), reason, data.message);
    }

    /// Records a notice about the Job, with an Event.
    pub(super) fn job_notice(&mut self, reason: &'static str, data: impl FnOnce(&Drafter<'a>) -> OutcomeData) {
        let data = self.record_notice(self.snapshot.evidence.job.identity.uid.as_str(), reason, data);
        self.notify(None, reason, data.message);
    }

    /// S1, S2, S3.
    pub(super) fn stuck(&mut self, judged: JudgedPod<'a>, stuck: StuckState) {
        self.pod_notice(judged, stuck.as_str(), |drafter| drafter.stuck(judged, stuck));
    }

    /// A pod that is alive: what was reported about it, and about the Job as not starting, is over. If its loss has been recorded and it
    /// `is_replaced`, the loss stands, and an Event says that the signals have resumed.
    pub(super) fn signals_resumed(&mut self, judged: JudgedPod<'a>, is_replaced: bool) {
        let pod = judged.pod;
        let notified = |reason: &'static str| self.recorded.notified.contains(&(Some(pod.uid.clone()), reason));
        // The clock has been set back, so the pod may look alive although no signal has arrived.
        if self.now < self.recorded.judged_until {
            let of_pod =
                self.recorded.notified.iter().filter(|(subject, _)| subject.as_ref() == Some(&pod.uid)).cloned();
            return self.current_notices.extend(of_pod.collect::<Vec<_>>());
        }
        // A pod that is deleted because it stalled, or initializes for too long, stays alive until its grace period is over.
        if let Some(reason) = [reason::STALLED, reason::INIT_TIMEOUT].into_iter().find(|reason| notified(reason))
            && is_replaced
        {
            return self.keep_notice((Some(pod.uid.clone()), reason));
        }
        let doubts = [reason::SUSPECT, reason::UNSEEN, reason::HELD, reason::SIDECAR_FAULT];
        let was_doubted = doubts.iter().chain(&reason::LOST).any(|reason| notified(reason));
        if !is_replaced {
            self.pod_recovered(judged);
            self.job_recovered(judged);
        }
        if was_doubted || is_replaced {
            let message = self.drafter.messages().signals_resumed(judged, is_replaced);
            self.notify(Some(pod), reason::HEARTBEAT_RESUMED, message);
        }
    }

    fn pod_recovered(&mut self, judged: JudgedPod<'a>) {
        if self.recorded.outcomes.is_empty() {
            return;
        }
        let subject = judged.pod.uid.as_str();
        let episode = self.episode(subject);
        let true_now = [Some(in_names(reason::CONTAINER_EXITED)), judged.stuck.map(|stuck| in_names(stuck.as_str()))];
        let reported = episode.notices(subject, &self.recorded.outcomes);
        let mut over: Vec<_> = reported.filter(|notice| !true_now.iter().flatten().any(|now| now == notice)).collect();
        if self.is_failed_attempt(&judged.pod.uid) {
            over.push("attempt-failed");
        }
        if !over.is_empty() && episode.may_recover() {
            self.record(OutcomeName::recovered(subject, episode), |drafter| drafter.recovered(judged, &over));
        }
    }

    /// A Job that was reported as not starting has a pod that is alive.
    fn job_recovered(&mut self, judged: JudgedPod<'a>) {
        let identity = &self.snapshot.evidence.job.identity;
        // The subject of a bare pod is the pod.
        if self.judgement.job != JobVerdict::Open || identity.is_bare() || self.recorded.outcomes.is_empty() {
            return;
        }
        let subject = identity.uid.as_str();
        let episode = self.episode(subject);
        let over: Vec<_> = episode.notices(subject, &self.recorded.outcomes).collect();
        if !over.is_empty() && episode.may_recover() {
            self.record(OutcomeName::recovered(subject, episode), |drafter| drafter.recovered(judged, &over));
        }
    }
}
