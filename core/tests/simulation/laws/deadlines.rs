//! Deadlines that a policy has to set: nothing is early and nothing is late.

use std::time::Duration;

use jobwarden_core::verdict::PodJudgement;
use jobwarden_core::verdict::{JobVerdict, LostReason, PodVerdict};

use super::evaluations::EvaluatedJob;
use crate::{
    state::{laws::Law, pod::Pod, signal_clock::ms},
    world::World,
};

/// For how long a worker that works again may still be judged stalled: until the agent's last report is too old.
const WORKS_AGAIN: Duration = Duration::from_secs(30);
/// How late anything may be that no signal delays: a probe, the work queue, the watches.
const SLACK_MS: i64 = 60_000;

impl World<'_> {
    /// J7 not before active-timeout, on the cluster's clock; P13 not before unscheduled-timeout has passed since the pod was
    /// created; P12 not before the worker has been stalled for stall-after.
    pub(super) fn check_nothing_is_early(&mut self, evaluated: &EvaluatedJob<'_>) {
        let policy = self.history.jobs[evaluated.job].policy;
        if evaluated.evaluation.judgement.job == JobVerdict::Overdue {
            let it = &self.jobs[evaluated.job];
            // The Job controller sets the start time again when it resumes a Job.
            let resuming = it.is_suspended && it.suspended == 0 && self.is_up_to_date(evaluated.reaper);
            let started = it.started.map(|(since, _)| since);
            let active = started.map(|since| if resuming { Duration::ZERO } else { self.now.saturating_sub(since) });
            if active.zip(policy.active_timeout).is_some_and(|(active, timeout)| active < timeout) {
                let how = format!("job-{} is overdue after {active:?}", evaluated.job);
                self.break_law(Law::DeadlinesAreKept, how);
            }
        }
        for PodJudgement { uid, verdict, .. } in &evaluated.evaluation.judgement.pods {
            let Some(pod) = self.pods.iter().find(|pod| pod.uid == *uid) else { continue };
            let early = match verdict {
                PodVerdict::Lost(LostReason::Unschedulable) => {
                    policy.unscheduled_timeout.is_none_or(|timeout| self.now.saturating_sub(pod.created) < timeout)
                }
                PodVerdict::Lost(LostReason::Stalled) => !self.is_stalled(pod, policy.stall_after),
                _ => false,
            };
            if early {
                self.break_law(Law::DeadlinesAreKept, format!("pod {uid} is {verdict:?}, which is not so"));
            }
        }
    }

    /// The reaper has received every change, except those of the last few hundred milliseconds.
    fn is_up_to_date(&self, reaper: usize) -> bool {
        self.cluster.reapers_reach_api() && self.reapers[reaper].watches_are_up()
    }

    /// The worker has been stalled for this long, and was a moment ago. While no signals arrive, the reaper cannot know better.
    fn is_stalled(&self, pod: &Pod, stall_after: Option<Duration>) -> bool {
        let Some(((since, until), after)) = pod.actual.stalled.zip(stall_after) else { return false };
        let was = until.is_none_or(|until| self.now.saturating_sub(until) < WORKS_AGAIN)
            || !self.laws.signal_clock.is_receiving();
        self.now.saturating_sub(since) >= after && was
    }

    /// J7: a Job that the reaper can observe is failed soon after active-timeout. P13: a pod without a node is lost soon after
    /// unscheduled-timeout. Measured on the laws' clock, from the start of the term where the reaper measures by its own.
    pub(super) fn check_nothing_is_late(&mut self, job: usize, judgement: &jobwarden_core::verdict::Judgement) {
        let policy = self.history.jobs[job].policy;
        let moment = self.laws.signal_clock.at(self.now);
        let it = &self.jobs[job];
        let open = it.exists && !it.deleting && it.suspended == 0 && !it.is_suspended && it.ending.is_none();
        if !open || self.history.jobs[job].managed_elsewhere || !self.is_observed(job) {
            return;
        }
        // One that has been out of enrolment is judged from its return on.
        let returned = it.enrolment_changed_at;
        let overdue = it.started.zip(policy.active_timeout);
        if overdue
            .is_some_and(|((_, since), timeout)| moment > since.max(returned - ms(timeout)) + ms(timeout) + SLACK_MS)
        {
            self.break_law(Law::DeadlinesAreKept, format!("job-{job} runs longer than it may"));
        }
        let Some(timeout) = policy.unscheduled_timeout else { return };
        let waits = |pod: &&Pod| pod.exists && pod.node.is_none() && !pod.deleting;
        let waiting: Vec<_> = self.jobs[job].attempts.iter().map(|&pod| &self.pods[pod]).filter(waits).collect();
        let late = waiting.into_iter().find(|pod| {
            let verdict = judgement.pods.iter().find(|judged| judged.uid == pod.uid).map(|judged| judged.verdict);
            let since = pod.created_at.max(self.laws.led_at).max(returned - ms(timeout));
            verdict == Some(PodVerdict::Waiting) && moment > since + ms(timeout) + SLACK_MS
        });
        if let Some(pod) = late {
            let how = format!("pod {} has waited for a node for too long", pod.uid);
            self.break_law(Law::DeadlinesAreKept, how);
        }
    }
}
