//! What the campaign itself learns from Kubernetes: which pods exist, where, and whether their end is reported.

use std::time::Duration;

use super::job::JobHistory;
use crate::campaign::span::CampaignTime;

/// How long after a pause its pod may still be found to have been removed for it: the API server may be away for a minute.
const NOTICED: Duration = Duration::from_mins(3);

/// A pod in a list of all pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSeen {
    /// Its name.
    pub name: String,
    /// The Job's name.
    pub job: String,
    /// How far it is.
    pub stage: Stage,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// How far a pod is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It has no node.
    #[default]
    Unscheduled,
    /// It has a node.
    Bound,
    /// A main container runs.
    Running,
    /// It is Succeeded or Failed.
    Ended,
}

impl JobHistory {
    /// Records all pods of the Job in a list that was asked for at this time.
    pub(super) fn see_pods(&mut self, pods: &[&PodSeen], asked: CampaignTime) {
        let is_there = |name: &str| pods.iter().any(|pod| pod.name == name && !pod.deleting);
        let is_over = self.finished.is_some() || self.deleted.is_some();
        let (pauses, recently) = (&self.pauses, asked.saturating_sub(NOTICED));
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.started <= asked) {
            let has_ended = |pod: &&PodSeen| pod.name == attempt.pod && pod.stage == Stage::Ended && !pod.deleting;
            if attempt.ended.is_some() && pods.iter().any(has_ended) {
                attempt.reported.get_or_insert(asked);
            }
            let paused = pauses.iter().any(|span| span.overlaps(attempt.started.max(recently), asked));
            if paused && !is_over && !is_there(&attempt.pod) {
                attempt.dropped.get_or_insert(asked);
            }
        }
        // A list that was asked for before the Job wanted a pod shows earlier ones.
        if self.submitted <= asked && pods.iter().any(|pod| pod.stage >= Stage::Bound && !pod.deleting) {
            self.bound.get_or_insert(asked);
        }
    }

    /// Whether the worker in this pod has been found.
    pub fn knows(&self, pod: &str) -> bool {
        self.attempts.iter().any(|attempt| attempt.pod == pod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::history::{Deletion, JobKind, Propagation, Span};

    fn at(seconds: u64) -> CampaignTime {
        Duration::from_secs(seconds)
    }

    /// A Job that wanted no pod from 50 to 60.
    fn mk_job() -> JobHistory {
        let mut job = JobHistory::new("job", "node", JobKind::Succeeds(at(1000)), at(0));
        job.worker_started("pod", at(5));
        job.pauses.push(Span { from: at(50), until: Some(at(60)) });
        job.submitted = at(60);
        job
    }

    fn pod(stage: Stage, deleting: bool) -> PodSeen {
        PodSeen { name: "pod".to_owned(), job: "job".to_owned(), stage, deleting }
    }

    fn seen(mut job: JobHistory, pods: &[PodSeen], asked: u64) -> JobHistory {
        job.see_pods(&pods.iter().collect::<Vec<_>>(), at(asked));
        job
    }

    #[test]
    fn a_pod_that_is_removed_around_a_pause_is_dropped() {
        let running = pod(Stage::Running, false);
        for (pods, asked, dropped) in [
            (vec![running.clone()], 55, None),
            (vec![pod(Stage::Running, true)], 55, Some(at(55))),
            (vec![], 62, Some(at(62))),
            (vec![], 40, None),
            (vec![], 300, None),
        ] {
            assert_eq!(seen(mk_job(), &pods, asked).attempts[0].dropped, dropped, "{pods:?} at {asked}");
        }
    }

    #[test]
    fn a_pod_that_goes_with_its_job_is_not_dropped() {
        let deletion = Deletion { asked: at(58), done: Some(at(58)), propagation: Propagation::Background };
        assert_eq!(seen(JobHistory { deleted: Some(deletion), ..mk_job() }, &[], 62).attempts[0].dropped, None);
        assert_eq!(seen(JobHistory { finished: Some(at(58)), ..mk_job() }, &[], 62).attempts[0].dropped, None);
    }

    #[test]
    fn a_list_of_before_the_job_wanted_a_pod_shows_an_earlier_one() {
        let bound = |pods: &[PodSeen], asked| seen(mk_job(), pods, asked).bound;
        assert_eq!(bound(&[pod(Stage::Running, false)], 59), None);
        assert_eq!(bound(&[pod(Stage::Running, true)], 62), None);
        assert_eq!(bound(&[pod(Stage::Unscheduled, false)], 62), None);
        assert_eq!(bound(&[pod(Stage::Bound, false)], 62), Some(at(62)));
    }
}
