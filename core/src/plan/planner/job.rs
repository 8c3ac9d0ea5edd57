//! The steps that follow from the verdict on a Job.

use std::time::Duration;

use jobwarden_common::names::reason;

use super::{context::Planner, retention::retained_until};
use crate::{
    evidence::{Finish, JobEvidence, JobStage},
    moment::Moment,
    outcome::OutcomeName,
    plan::{
        draft::{Drafter, lost_reason},
        messages::Messages,
        protocol::Stage,
        step::{Removal, Step},
    },
    policy::NotStarting,
    verdict::{EndReason, JobVerdict},
};

/// How long a Job is out of enrolment before its finalizer is released: a new namespace and its first Job arrive by different watches.
const RELEASE_AFTER: Duration = Duration::from_secs(10);

/// When the finalizer of a Job that is out of enrolment is released.
pub(super) fn releases_at(job: &JobEvidence) -> Option<Moment> {
    job.unenrolled_since.filter(|_| job.has_finalizer).map(|since| since + RELEASE_AFTER)
}

impl Planner<'_> {
    /// J9. Nothing of it is reported, and nothing of ours stays behind. While a watch is down, the namespaces are not up to date either.
    pub(super) fn not_enrolled(&mut self) {
        if self.snapshot.gone {
            self.steps.push(Step::Forget);
        } else if self.holds.of_objects().is_none()
            && releases_at(&self.snapshot.evidence.job).is_some_and(|at| at <= self.now)
        {
            self.steps.push(Step::ReleaseFinalizer);
        }
    }

    /// J1.
    pub(super) fn finished(&mut self) {
        let job = &self.snapshot.evidence.job;
        let JobStage::Finished { finish, .. } = &job.stage else { return };
        let outcome = OutcomeName::job_final(&job.identity.uid);
        self.record(outcome.clone(), |drafter| match finish {
            Finish::Complete => drafter.succeeded(),
            Finish::Failed { reason, message } => drafter.failed(JobVerdict::Finished, reason, message),
        });
        if job.has_finalizer {
            self.steps.push(Step::ReleaseFinalizer);
        }
        self.clean_up_terminating_pods();
        let is_settled = Stage::of(job, &outcome, self.recorded) == Stage::Settled;
        if is_settled && retained_until(self.snapshot).is_some_and(|until| until <= self.now) {
            self.steps.push(Step::DeleteJob);
        }
    }

    /// J2.
    pub(super) fn deleted(&mut self) {
        let job = &self.snapshot.evidence.job;
        let outcome = OutcomeName::job_final(&job.identity.uid);
        if Stage::of(job, &outcome, self.recorded) == Stage::Unrecorded {
            self.steps.push(Step::ConfirmDeleted);
        }
        self.record(outcome, Drafter::deleted);
        if job.stage != (JobStage::Deleting { orphaning: true }) {
            self.delete_pods(Removal::JobDeleted);
        }
        self.clean_up_terminating_pods();
        if job.stage == JobStage::Vanished {
            self.steps.push(Step::Forget);
        } else if job.has_finalizer {
            self.steps.push(Step::ReleaseFinalizer);
        }
    }

    /// J4. A reaper that wrote our verdict may have crashed before it recorded the outcome, so the outcome is planned here too. For a
    /// bare pod, the planner also does what the Job controller does for a Job: only we fail a bare pod.
    pub(super) fn ending(&mut self) {
        let job = &self.snapshot.evidence.job;
        let is_bare = job.identity.is_bare();
        if let JobStage::Failing { reason, message } = &job.stage
            && (is_bare || lost_reason(reason).is_some())
        {
            let outcome = OutcomeName::job_final(&job.identity.uid);
            self.record(outcome, |drafter| drafter.failed(JobVerdict::Ending, reason, message));
        }
        if is_bare {
            self.delete_pods(Removal::Failing);
        }
        self.clean_up_terminating_pods();
    }

    /// J7. The guards for losses do not apply because the row rests on no missing signal. But the Job must be up to date.
    pub(super) fn overdue(&mut self) {
        if self.holds.of_objects().is_none() {
            let message = self.drafter.messages().overdue();
            self.end(EndReason::DeadlineExceeded, message);
        }
    }

    /// J6, which rests on objects too.
    pub(super) fn not_starting(&mut self) {
        if self.snapshot.policy.not_starting == NotStarting::Fail && self.holds.of_objects().is_none() {
            let message = self.drafter.messages().not_starting();
            return self.end(EndReason::NotStarting, message);
        }
        self.job_notice(reason::NOT_STARTING, Drafter::not_starting);
        self.open();
    }

    /// J8. As for J7, no guard for losses applies: the kubelet has reported the end of the container.
    pub(super) fn container_failed(&mut self) {
        if self.holds.of_objects().is_none() {
            let message = Messages::container_failed(&self.snapshot.evidence.pods);
            self.end(EndReason::ContainerFailed, message);
        }
    }

    /// Fails a Job that has no lost pod. Its outcome is recorded once the Job controller has failed it, as for any failed Job.
    fn end(&mut self, reason: EndReason, message: String) {
        // A Job that the Job controller has not started cannot be failed; it starts soon, and is evaluated again then.
        let job = &self.snapshot.evidence.job;
        if !job.started {
            return;
        }
        let started = job.active.map(|active| active.start);
        if let Some(refusal) = self.recorded.refused.get(&None) {
            self.job_notice(reason.as_str(), |drafter| drafter.end_refused(reason, &message, refusal));
            // The Job may go on for ever, so its pods are reported as those of any open Job.
            self.open();
        }
        self.steps.push(Step::EndJob { reason, started, message: message.clone() });
        self.notify(None, reason.as_str(), message);
    }
}
