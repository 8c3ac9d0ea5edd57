//! Steps on a Job.

use jiff::Timestamp;
use jobwarden_core::{
    plan::step::PodRef,
    second_look::{self, Contradiction, Proceed},
    verdict::{EndReason, LostReason},
};
use jobwarden_serve::field_manager::patch_params;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, Patch, Preconditions};
use serde_json::json;

use super::{ExecuteError, FailWith, StepRunner, clock::condition_time, error::is_not_found};

impl StepRunner<'_> {
    /// The live Job; `None` if it is gone, even if another Job has its name.
    pub(super) async fn live_job(&self) -> Result<Option<Job>, ExecuteError> {
        let found = self.jobs.get_opt(&self.job.name).await;
        let found = found.map_err(|source| ExecuteError::api("read", self.describe(None), source))?;
        Ok(found.filter(|job| job.metadata.uid.as_deref() == Some(self.job.uid.as_str())))
    }

    /// The live Job, if it is open and may be changed.
    pub(super) async fn open_job(&self) -> Result<Job, ExecuteError> {
        let live = self.live_job().await?;
        self.second_look(None, second_look::open_job(live.as_ref()).cloned())
    }

    /// The answer of the second look as the result of a step.
    pub(super) fn second_look<T>(
        &self,
        pod: Option<&str>,
        answer: Result<T, Contradiction>,
    ) -> Result<T, ExecuteError> {
        answer.map_err(|found| ExecuteError::SecondLook { what: self.describe(pod), found })
    }

    pub(super) async fn fail_job(
        &mut self,
        pod: &PodRef,
        reason: LostReason,
        message: &str,
    ) -> Result<(), ExecuteError> {
        if self.job.is_bare() {
            return self.fail_bare_pod(reason.as_str(), message).await;
        }
        let job = self.open_job().await?;
        if self.second_look(None, second_look::fail_job(&job, reason.as_str()))? == Proceed::AlreadyDone {
            return Ok(());
        }
        let live = self.live_pod(pod).await?;
        let answer = second_look::lost_pod(self.job, &job, live.as_ref());
        self.second_look(Some(&pod.name), answer)?;
        self.write_verdict(&job, reason.as_str(), message).await?;
        self.log_done(format!("the Job was failed with reason {reason}"));
        // The API server accepts FailureTarget even if the pod has succeeded meanwhile.
        if self.live_pod(pod).await?.is_some_and(|pod| super::pod::phase(&pod) == Some("Succeeded")) {
            self.late_success = Some(pod.name.clone());
        }
        Ok(())
    }

    pub(super) async fn end_job(
        &mut self,
        reason: EndReason,
        started: Option<Timestamp>,
        message: &str,
    ) -> Result<(), ExecuteError> {
        if self.job.is_bare() {
            return self.fail_bare_pod(reason.as_str(), message).await;
        }
        let job = self.open_job().await?;
        if self.second_look(None, second_look::end_job(&job, reason, started))? == Proceed::AlreadyDone {
            return Ok(());
        }
        self.write_verdict(&job, reason.as_str(), message).await?;
        self.log_done(format!("the Job was failed with reason {reason}"));
        Ok(())
    }

    async fn write_verdict(&self, job: &Job, reason: &str, message: &str) -> Result<(), ExecuteError> {
        match self.executor.fail_with {
            FailWith::FailureTarget => self.set_failure_target(job, reason, message).await,
            FailWith::ActiveDeadline => self.end_by_deadline(job).await,
        }
    }

    async fn set_failure_target(&self, job: &Job, reason: &str, message: &str) -> Result<(), ExecuteError> {
        // A strategic merge adds the condition to the others. Only the Job controller may write Failed.
        let now = condition_time();
        let patch = json!({
            "metadata": { "uid": job.metadata.uid, "resourceVersion": job.metadata.resource_version },
            "status": { "conditions": [{
                "type": "FailureTarget",
                "status": "True",
                "reason": reason,
                "message": message,
                "lastProbeTime": now,
                "lastTransitionTime": now,
            }] }
        });
        let patched = self.jobs.patch_status(&self.job.name, &patch_params(), &Patch::Strategic(patch)).await;
        patched.map_err(|source| ExecuteError::api("fail", self.describe(None), source))?;
        Ok(())
    }

    async fn end_by_deadline(&self, job: &Job) -> Result<(), ExecuteError> {
        let patch = json!({
            "metadata": { "uid": job.metadata.uid, "resourceVersion": job.metadata.resource_version },
            "spec": { "activeDeadlineSeconds": 1 }
        });
        let patched = self.jobs.patch(&self.job.name, &patch_params(), &Patch::Merge(patch)).await;
        patched.map_err(|source| ExecuteError::api("set a deadline for", self.describe(None), source))?;
        Ok(())
    }

    pub(super) async fn confirm_deleted(&mut self) -> Result<(), ExecuteError> {
        if self.job.is_bare() {
            return self.confirm_bare_pod_deleted().await;
        }
        self.deleted = self.live_job().await?;
        let confirmed = second_look::job_deleted(self.deleted.as_ref());
        self.report.forget |= confirmed.is_err_and(Contradiction::forgets_job);
        self.second_look(None, confirmed)
    }

    pub(super) async fn release_finalizer(&mut self) -> Result<(), ExecuteError> {
        let live = self.live_job().await?;
        let (Some(finalizers), Some(job)) = (second_look::released_finalizers(live.as_ref()), live) else {
            return Ok(());
        };
        // A merge patch replaces the whole list, so the resourceVersion must be the one of the Job that was read.
        let patch = json!({ "metadata": {
            "uid": job.metadata.uid,
            "resourceVersion": job.metadata.resource_version,
            "finalizers": finalizers,
        } });
        match self.jobs.patch(&self.job.name, &patch_params(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(source) => Err(ExecuteError::api("remove the finalizer of", self.describe(None), source)),
        }
    }

    pub(super) async fn delete_job(&mut self) -> Result<(), ExecuteError> {
        let live = self.live_job().await?;
        let answer = second_look::delete_job(live.as_ref());
        let (Proceed::Write, Some(job)) = (self.second_look(None, answer)?, live) else { return Ok(()) };
        let preconditions = Preconditions { uid: job.metadata.uid, ..Preconditions::default() };
        match self.jobs.delete(&self.job.name, &DeleteParams::background().preconditions(preconditions)).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(source) => Err(ExecuteError::api("delete", self.describe(None), source)),
        }
    }
}
