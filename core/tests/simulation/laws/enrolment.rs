//! What is out of enrolment is not judged, not told of and not held; and what is not a Job's pod has no part in it.

use jobwarden_common::{names::reason, notification::OutcomeData};
use jobwarden_core::{plan::step::Step, verdict::JobVerdict};

use super::evaluations::EvaluatedJob;
use crate::{state::laws::Law, world::World};

/// How long a finalizer may stay on a Job that is out of enrolment or being deleted, while the reaper receives everything: ten seconds of
/// J9, the grace period of the backfill, and the longest back-off of a step that has failed before.
const RELEASED_WITHIN_MS: i64 = 120_000;
/// From a change of enrolment until everything that was planned before it is done.
const ARRIVES_WITHIN_MS: i64 = 10_000;

impl World<'_> {
    /// No Job carries the finalizer for long that is not observed, or that is being deleted.
    pub(super) fn check_no_finalizer_is_left_behind(&mut self, job: usize) {
        let it = &self.jobs[job];
        // Steps on pods come first, and those that the API server refuses keep the finalizer.
        let must_go = it.exists && it.finalizer && it.writes_refused == 0 && (it.deleting || !self.is_enrolled(job));
        let moment = self.laws.signal_clock.at(self.now);
        let record = &mut self.laws.records[job].held;
        *record = must_go.then(|| record.unwrap_or(moment));
        if record.is_some_and(|since| moment - since > RELEASED_WITHIN_MS) {
            self.break_law(Law::NoFinalizerIsLeftBehind, format!("job-{job} still carries the finalizer"));
        }
    }

    /// The Job has been out of enrolment for long enough that every reaper knows.
    fn is_surely_outside(&self, job: usize) -> bool {
        let since = self.laws.signal_clock.at(self.now) - self.jobs[job].enrolment_changed_at;
        !self.is_enrolled(job) && since > ARRIVES_WITHIN_MS
    }

    /// Nothing is recorded of a Job that is not ours to observe. What became of one that is gone without our label nobody can tell.
    pub(super) fn check_outcome_is_ours(&mut self, job: usize, data: &OutcomeData) {
        if self.is_surely_outside(job) && self.jobs[job].exists && data.reason != reason::JOB_NOT_FOLLOWED {
            let how = format!("{} ({}) is recorded of job-{job}, which is not observed", data.kind, data.reason);
            self.break_law(Law::NothingOutsideIsJudged, how);
        }
    }

    /// A Job out of enrolment is only released. Whose pods are judged, belong to it.
    pub(super) fn check_membership(&mut self, evaluated: &EvaluatedJob<'_>) {
        let EvaluatedJob { job, evaluation, .. } = *evaluated;
        let own = |uid: &_| self.jobs[job].attempts.iter().any(|&pod| self.pods[pod].uid == *uid);
        if let Some(foreign) = evaluation.judgement.pods.iter().find(|pod| !own(&pod.uid)) {
            let how = format!("pod {} is judged as one of job-{job}", foreign.uid);
            return self.break_law(Law::ForgedPodsChangeNothing, how);
        }
        // For the watch, one without our label is gone.
        if !self.is_surely_outside(job) || !self.jobs[job].labelled {
            return;
        }
        let is_released = |step: &Step| matches!(step, Step::ReleaseFinalizer | Step::Forget | Step::ClearNotice(_));
        if evaluation.judgement.job != JobVerdict::NotEnrolled || !evaluation.steps.iter().all(is_released) {
            let steps: Vec<_> = evaluation.steps.iter().map(Step::as_str).collect();
            let how = format!("job-{job} is judged {:?}, and {steps:?} follow", evaluation.judgement.job);
            self.break_law(Law::NothingOutsideIsJudged, how);
        }
    }
}
