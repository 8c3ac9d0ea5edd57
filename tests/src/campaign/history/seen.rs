//! What the campaign itself learns from Kubernetes: which pods exist, where, and whether their end is reported.

use std::time::Duration;

use super::{CampaignTime, History, JobHistory};

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

impl History {
    /// Records a complete list of pods that was asked for at this time.
    pub fn see_pods(&mut self, pods: &[PodSeen], asked: CampaignTime) {
        for job in &mut self.jobs {
            let of_job: Vec<_> = pods.iter().filter(|pod| pod.job == job.name).collect();
            job.see_pods(&of_job, asked);
        }
    }
}

impl JobHistory {
    fn see_pods(&mut self, pods: &[&PodSeen], asked: CampaignTime) {
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
