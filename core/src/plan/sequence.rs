//! The steps of one plan while they are executed.

use std::collections::{HashSet, VecDeque};

use jobwarden_common::identity::PodUid;

use super::step::Step;

/// The steps of one plan, in the order in which they are executed.
///
/// If a step about a pod fails, the remaining steps about that pod and about the Job are skipped. If a step about the Job fails, all
/// remaining steps are skipped: each relies on the ones before it.
#[derive(Debug, Default)]
pub struct StepSequence {
    steps: VecDeque<Step>,
    blocked: HashSet<PodUid>,
    stopped: bool,
}

impl StepSequence {
    /// The sequence of these steps.
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps: steps.into(), ..Self::default() }
    }

    /// The next step to execute.
    pub fn next_step(&mut self) -> Option<Step> {
        while let Some(step) = self.steps.pop_front() {
            if !self.is_blocked(&step) {
                return Some(step);
            }
        }
        None
    }

    /// Records that a step about `pod` failed, or about the Job if `pod` is `None`.
    pub fn failed(&mut self, pod: Option<PodUid>) {
        match pod {
            Some(pod) => {
                self.blocked.insert(pod);
            }
            None => self.stopped = true,
        }
    }

    /// Whether any step failed.
    pub fn has_failed(&self) -> bool {
        self.stopped || !self.blocked.is_empty()
    }

    fn is_blocked(&self, step: &Step) -> bool {
        self.stopped || step.pod().map_or(!self.blocked.is_empty(), |pod| self.blocked.contains(pod))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::step::PodRef;

    fn remove(pod: &str) -> Step {
        Step::ForceDeletePod { pod: PodRef { uid: pod.into(), name: pod.to_owned() } }
    }

    #[test]
    fn after_a_failed_step_about_a_pod_the_steps_about_other_pods_still_follow() {
        let mut sequence = StepSequence::new(vec![remove("a"), remove("a"), remove("b"), Step::ReleaseFinalizer]);
        let first = sequence.next_step().expect("the first step");
        assert!(!sequence.has_failed());
        sequence.failed(first.pod().cloned());
        assert_eq!(sequence.next_step(), Some(remove("b")));
        assert_eq!(sequence.next_step(), None, "the finalizer stays while a step about a pod is outstanding");
        assert!(sequence.has_failed());
    }

    #[test]
    fn after_a_failed_step_about_the_job_no_further_step_follows() {
        let mut sequence = StepSequence::new(vec![Step::ReleaseFinalizer, remove("a"), Step::DeleteJob]);
        sequence.next_step().expect("the first step");
        sequence.failed(None);
        assert_eq!(sequence.next_step(), None);
    }
}
