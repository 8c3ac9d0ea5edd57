//! What the API shows of verdicts and guards.

use std::sync::PoisonError;

use jobwarden_common::identity::JobUid;

use super::Enforcer;
use crate::{controller::Concluded, moment::Moment};

impl Enforcer {
    /// What was last concluded of each Job.
    pub fn concluded(&self) -> Vec<(JobUid, Concluded)> {
        self.tally().all()
    }

    /// Since when the verdict on a Job is what it is.
    pub fn since(&self, job: &JobUid) -> Option<Moment> {
        self.tally().since(job)
    }

    /// The guard that holds a lost verdict on a Job.
    pub fn held(&self, job: &JobUid) -> Option<&'static str> {
        self.memory().get(job).and_then(|memory| memory.held)
    }

    /// All Jobs with a lost verdict that a guard holds, and which.
    pub fn held_jobs(&self) -> Vec<(JobUid, &'static str)> {
        self.memory().iter().filter_map(|(uid, memory)| Some((uid.clone(), memory.held?))).collect()
    }

    /// How many Jobs the breaker counts as lost, and of how many.
    pub fn breaker_counts(&self) -> (usize, usize) {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner).counted()
    }
}
