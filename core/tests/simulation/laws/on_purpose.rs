//! What Kubernetes waits for on purpose, or has replaced, is not lost and fails no Job.
//!
//! Measured in real time, of which the reaper's clock never counts more, and by what the kubelet and the Job controller have written. The
//! rules of Kubernetes are repeated here on purpose.

use std::time::Duration;

use jobwarden_core::verdict::{JobVerdict, LostReason, PodJudgement};

use super::evaluations::EvaluatedJob;
use crate::{
    history::PolicyPlan,
    state::{laws::Law, pod::Pod},
    world::World,
};

/// After how long without a list of containers a kubelet calls its runtime unhealthy.
const RUNTIME_MAY_HANG: Duration = Duration::from_mins(3);
/// From a status to its arrival.
const ARRIVES_WITHIN: Duration = Duration::from_secs(1);

impl World<'_> {
    pub(super) fn check_waiting_is_no_failure(&mut self, evaluated: &EvaluatedJob<'_>) {
        if !self.cluster.reapers_reach_api() || !self.reapers[evaluated.reaper].watches_are_up() {
            return; // A guard holds what is judged by objects that are out of date.
        }
        let policy = self.history.jobs[evaluated.job].policy;
        let judgement = &evaluated.evaluation.judgement;
        let job = &self.jobs[evaluated.job];
        let early = self.now + ARRIVES_WITHIN < job.may_create_from() + policy.start_timeout;
        if judgement.job == JobVerdict::NotStarting && early {
            let how = format!("job-{} is not starting while its controller backs off", evaluated.job);
            return self.break_law(Law::WaitingIsNoFailure, how);
        }
        for PodJudgement { uid, verdict, .. } in &judgement.pods {
            let Some(pod) = self.pods.iter().find(|pod| pod.uid == *uid) else { continue };
            let too_early = match verdict.lost() {
                Some(LostReason::ProcessGone) => self.now.saturating_sub(pod.actual.died) < RUNTIME_MAY_HANG,
                Some(LostReason::ImagePullFailed | LostReason::CreateFailed | LostReason::StartTimeout) => {
                    self.had_time_to_start(pod) < policy.start_timeout
                }
                _ => false,
            };
            if too_early {
                let how = format!("pod {uid} is judged {verdict:?} although it is waited for");
                return self.break_law(Law::WaitingIsNoFailure, how);
            }
        }
    }

    /// A Job is about to be failed without a lost pod.
    pub(crate) fn check_job_is_active(&mut self, job: usize) {
        let it = &self.jobs[job];
        if it.suspended > 0 || it.is_suspended {
            self.break_law(Law::WaitingIsNoFailure, format!("job-{job} is ended while it is suspended"));
        }
    }

    /// For how long the node has been ready for this pod, without the time in which its native sidecar was warming up.
    fn had_time_to_start(&self, pod: &Pod) -> Duration {
        let Some(node) = pod.node.map(|node| &self.nodes[node]) else { return Duration::ZERO };
        let on_node = self.now.saturating_sub(pod.bound);
        let now_warming = if pod.status.containers.warm_up() {
            self.now.saturating_sub(pod.status_written_at)
        } else {
            Duration::ZERO
        };
        let runs = pod.actual.containers.helper.map_or(0, |helper| helper.run);
        let not_warming = on_node.saturating_sub(pod.warmed + now_warming) + ARRIVES_WITHIN * runs;
        let ready = if node.ready { self.now.saturating_sub(node.ready_changed) } else { on_node };
        not_warming.min(ready)
    }

    /// A Job is about to be failed for a lost pod.
    pub(crate) fn check_pod_counts(&mut self, pod: usize, reason: LostReason) {
        let it = &self.pods[pod];
        if it.deleting && !self.history.jobs[it.job].replaces_only_failed {
            let how =
                format!("job-{} is failed with {reason} for pod {}, which Kubernetes has replaced", it.job, it.uid);
            self.break_law(Law::WaitingIsNoFailure, how);
        }
    }

    /// The Job controller has counted a pod as failed that others than the present reaper have deleted.
    pub(super) fn is_left_to_kubernetes(&self, pod: usize) -> bool {
        let it = &self.pods[pod];
        let present = self.leader().map(|leader| (leader, self.reapers[leader].life, self.reapers[leader].term));
        let by_present = it.deleted_by_reaper.is_some() && it.deleted_by_reaper == present;
        it.deleting && it.counted && !by_present
    }
}

impl Pod {
    /// Its worker runs, and no row can call it lost now or has a moment ago.
    pub(crate) fn surely_lives(&self, now: Duration, policy: &PolicyPlan) -> bool {
        let reported = self.status.containers.mains.iter().all(|main| main.run > 0)
            && now.saturating_sub(self.status_written_at) >= ARRIVES_WITHIN;
        let a_little_less = |after: Duration| after.saturating_sub(Duration::from_secs(2));
        let (beat, report) = (a_little_less(policy.suspect_after), a_little_less(policy.lost_after));
        let is_fresh = self.received.are_fresh_on_gone_node(now, beat, report);
        self.worker_runs() && reported && self.actual.stalled.is_none() && is_fresh
    }
}
