//! Steps, taken as the executor of a real reaper takes them: read the live objects, ask the second look, write.

use std::time::Duration;

use jiff::Timestamp;
use jobwarden_core::{
    evidence::JobIdentity,
    outcome::OutcomeName,
    plan::step::{Draft, Notice, PodRef, Removal, Step},
    reconcile::StepReport,
    second_look::{self, Contradiction, Proceed},
    verdict::{EndReason, LostReason},
};
use k8s_openapi::api::{batch::v1::Job as JobObject, core::v1::Pod as PodObject};

use crate::{
    kubernetes::objects,
    state::{job::Ending, pod::Phase, reaper::Execution, watch::Kind},
    world::{Event, World},
};

/// Why a step was not taken.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum StepError {
    #[error("the API server does not answer")]
    Unreachable,
    #[error("the API server refuses it")]
    Refused,
    #[error("{0}")]
    SecondLook(#[from] Contradiction),
}

impl World<'_> {
    pub(super) fn step_soon(&mut self, reaper: usize, job: usize) {
        let it = &mut self.reapers[reaper];
        let (after, life, term) = (it.dice.ms(5, 60), it.life, it.term);
        self.after(after, Event::Step { reaper, life, term, job });
    }

    /// A reaper takes the next step of its plan for a Job.
    pub(crate) fn take_step(&mut self, reaper: usize, life: u32, term: u32, job: usize) {
        let it = &mut self.reapers[reaper];
        if it.life != life || it.term != term {
            return;
        }
        let Some(execution) = it.executions.get_mut(&job) else { return };
        if let Some(step) = execution.steps.next_step() {
            let (word, pod, identity) = (step.as_str(), step.pod().cloned(), execution.job.clone());
            if let Err(error) = self.take(reaper, job, &identity, step) {
                self.log(|| format!("job-{job}: step {word} is not taken: {error}"));
                if let Some(execution) = self.reapers[reaper].executions.get_mut(&job) {
                    if matches!(error, StepError::Refused) {
                        execution.report.refused.push((pod.clone(), error.to_string()));
                    }
                    execution.steps.failed(pod);
                }
            }
            return self.step_soon(reaper, job);
        }
        if let Some(Execution { steps, report, requeue, .. }) = it.executions.remove(&job) {
            let report = StepReport { failed: steps.has_failed(), ..report };
            self.done(reaper, job, report, requeue);
            self.wake_for_room(reaper);
        }
    }

    fn take(&mut self, reaper: usize, job: usize, identity: &JobIdentity, step: Step) -> Result<(), StepError> {
        // These three write nothing.
        if let Some(Execution { report, .. }) = self.reapers[reaper].executions.get_mut(&job) {
            match step {
                Step::ClearNotice(key) => {
                    report.cleared.push(key);
                    return Ok(());
                }
                Step::Abandon(pod) => {
                    report.abandoned.push(pod);
                    return Ok(());
                }
                Step::Forget => {
                    report.forget = true;
                    return Ok(());
                }
                _ => {}
            }
        }
        let reachable = self.cluster.reapers_reach_api();
        if let Step::RecordEvent(notice) = step {
            // No step depends on an Event.
            if reachable {
                self.record_event(reaper, job, &notice);
            }
            return Ok(());
        }
        if !reachable {
            return Err(StepError::Unreachable);
        }
        // The finalizer stays removable, so that every Job can end.
        let is_refused = step.writes_workload() && !matches!(step, Step::ReleaseFinalizer | Step::DeleteJob);
        if is_refused && self.jobs[job].writes_refused > 0 {
            return Err(StepError::Refused);
        }
        match step {
            Step::FailJob { pod, reason, .. } => self.fail_job(job, identity, &pod, reason)?,
            Step::EndJob { reason, started, .. } => self.end_job(job, reason, started)?,
            Step::ConfirmDeleted => {
                let confirmed = second_look::job_deleted(self.live_job(job).as_ref());
                if let Some(execution) = self.reapers[reaper].executions.get_mut(&job) {
                    execution.report.forget |= confirmed.is_err_and(Contradiction::forgets_job);
                }
                confirmed?;
            }
            Step::DeletePod { pod, why } => self.delete_pod_for((reaper, job), identity, &pod, why)?,
            Step::MarkPodFailed { pod, reason, .. } => self.mark_pod_failed(&pod, reason)?,
            Step::ForceDeletePod { pod } => self.force_delete_pod(&pod)?,
            Step::DeleteJob => {
                if second_look::delete_job(self.live_job(job).as_ref())? == Proceed::Write {
                    self.delete_job(job, false);
                }
            }
            Step::Record(draft) => self.record(job, *draft),
            Step::ReleaseFinalizer => self.release_finalizer(job),
            Step::ConfirmNotOurFault { .. }
            | Step::RecordEvent(_)
            | Step::ClearNotice(_)
            | Step::Abandon(_)
            | Step::Forget => {}
        }
        Ok(())
    }

    /// The Job as the API server has it.
    fn live_job(&self, job: usize) -> Option<JobObject> {
        let it = &self.jobs[job];
        it.exists.then(|| objects::job(job, it, &self.history.jobs[job]))
    }

    /// The pod as the API server has it, and its number.
    fn live_pod(&self, pod: &PodRef) -> Option<(usize, PodObject)> {
        let number = self.pods.iter().position(|it| it.uid == pod.uid).filter(|&pod| self.pods[pod].exists)?;
        let it = &self.pods[number];
        Some((number, objects::pod(it, &self.history.jobs[it.job])))
    }

    fn fail_job(
        &mut self,
        job: usize,
        identity: &JobIdentity,
        pod: &PodRef,
        reason: LostReason,
    ) -> Result<(), Contradiction> {
        let live = self.live_job(job);
        let live_job = second_look::open_job(live.as_ref())?;
        if second_look::fail_job(live_job, reason.as_str())? == Proceed::AlreadyDone {
            return Ok(());
        }
        let (number, live) = self.live_pod(pod).ok_or(Contradiction::Gone)?;
        second_look::lost_pod(identity, live_job, Some(&live))?;
        self.check_pod_counts(number, reason);
        self.set_failure_target(job, reason.as_str());
        Ok(())
    }

    fn end_job(&mut self, job: usize, reason: EndReason, started: Option<Timestamp>) -> Result<(), Contradiction> {
        let live = self.live_job(job);
        if second_look::end_job(second_look::open_job(live.as_ref())?, reason, started)? == Proceed::Write {
            self.check_job_is_active(job);
            self.set_failure_target(job, reason.as_str());
        }
        Ok(())
    }

    fn set_failure_target(&mut self, job: usize, reason: &str) {
        self.log(|| format!("the reaper fails job-{job}: {reason}"));
        (self.jobs[job].ending, self.jobs[job].ending_since) =
            (Some(Ending::Failing(reason.to_owned())), Some(self.now));
        self.publish(Kind::Job(job), false);
        self.sync_job_soon(job);
    }

    fn delete_pod_for(
        &mut self,
        (reaper, job): (usize, usize),
        identity: &JobIdentity,
        pod: &PodRef,
        why: Removal,
    ) -> Result<(), Contradiction> {
        if why == Removal::Lost {
            second_look::open_job(self.live_job(job).as_ref())?;
        }
        let live = self.live_pod(pod);
        let answer = second_look::delete_pod(identity, live.as_ref().map(|(_, pod)| pod), why)?;
        if let (Proceed::Write, Some((number, _))) = (answer, live) {
            self.log(|| format!("the reaper deletes pod {}: {why:?}", pod.name));
            let it = &self.reapers[reaper];
            self.pods[number].deleted_by_reaper = Some((reaper, it.life, it.term));
            self.delete_pod(number);
        }
        Ok(())
    }

    fn mark_pod_failed(&mut self, pod: &PodRef, reason: LostReason) -> Result<(), Contradiction> {
        let live = self.live_pod(pod);
        let answer = second_look::mark_pod_failed(live.as_ref().map(|(_, pod)| pod))?;
        if let (Proceed::Write, Some((number, _))) = (answer, live) {
            self.log(|| format!("the reaper marks pod {} Failed: {reason}", pod.name));
            let it = &mut self.pods[number];
            (it.status.phase, it.status.reason) = (Phase::Failed, Some(reason.as_str().to_owned()));
            let job = it.job;
            self.publish(Kind::Pod(number), false);
            self.sync_job_soon(job);
            self.kubelet_sync_soon(number);
        }
        Ok(())
    }

    fn force_delete_pod(&mut self, pod: &PodRef) -> Result<(), Contradiction> {
        let live = self.live_pod(pod);
        let answer = second_look::force_delete_pod(live.as_ref().map(|(_, pod)| pod))?;
        if let (Proceed::Write, Some((number, _))) = (answer, live) {
            self.remove_pod(number);
        }
        Ok(())
    }

    /// Creates an outcome object, unless there is one of its name.
    fn record(&mut self, job: usize, draft: Draft) {
        let Draft { name, data, labels: _, logs: _ } = draft;
        if self.jobs[job].outcomes.contains_key(&name) {
            return;
        }
        self.log(|| {
            let pod = data.attempt.as_ref().map(|attempt| attempt.pod_name.as_str()).unwrap_or_default();
            format!("RECORDED job-{job} {pod}: {}, {} by {}", data.kind, data.reason, data.decided_by.row)
        });
        self.jobs[job].outcomes.insert(name.clone(), false);
        self.check_outcome(job, &name, &data);
        let after = self.dice.seconds(1, 20);
        self.after(after, Event::Settle { job, outcome: name });
        self.outcomes_changed(job);
    }

    /// Every sink has acknowledged an outcome.
    pub(crate) fn settle(&mut self, job: usize, outcome: OutcomeName) {
        self.jobs[job].outcomes.insert(outcome, true);
        self.outcomes_changed(job);
    }

    fn outcomes_changed(&mut self, job: usize) {
        if let Some(leader) = self.leader().filter(|&leader| self.reapers[leader].enforcing) {
            let uid = self.jobs[job].uid.clone();
            self.enqueue(leader, uid);
        }
    }

    fn release_finalizer(&mut self, job: usize) {
        if second_look::released_finalizers(self.live_job(job).as_ref()).is_some() {
            self.jobs[job].finalizer = false;
            self.publish(Kind::Job(job), false);
            self.after(Duration::from_millis(50), Event::CollectJob(job));
        }
    }

    fn record_event(&mut self, reaper: usize, job: usize, notice: &Notice) {
        self.log(|| format!("Event on job-{job}: {}", notice.reason));
        *self.statistics.events_recorded.entry(notice.reason).or_default() += 1;
        if let Some(execution) = self.reapers[reaper].executions.get_mut(&job) {
            execution.report.notified.push(notice.key());
        }
    }
}
