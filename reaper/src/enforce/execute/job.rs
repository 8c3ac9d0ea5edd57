//! Steps about a Job.

use jobwarden_common::names::FINALIZER;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, Patch, Preconditions};
use serde_json::json;

use super::{EnforceError, FailWith, Walk, error::is_not_found, ours, present};
use crate::{
    enforce::step::PodRef,
    verdict::{EndReason, LostReason},
};

/// What [`Job`]s managed by Kubernetes itself may say in `spec.managedBy`.
const KUBERNETES_JOB_CONTROLLER: &str = "kubernetes.io/job-controller";

impl Walk<'_> {
    /// The Job as it is now; `None` if it is gone, though another of its name may be there.
    pub(super) async fn live_job(&self) -> Result<Option<Job>, EnforceError> {
        let found = self.jobs.get_opt(&self.job.name).await;
        let found = found.map_err(|source| EnforceError::api("read", self.what(None), source))?;
        Ok(found.filter(|job| job.metadata.uid.as_deref() == Some(self.job.uid.as_str())))
    }

    /// The second look at a Job for whose pod something is to be done: the Job, if it is open.
    pub(super) async fn second_look(&self) -> Result<Job, EnforceError> {
        let found = |found| Err(EnforceError::SecondLook { what: self.what(None), found });
        let Some(job) = self.live_job().await? else { return found("it is gone") };
        let spec = job.spec.as_ref();
        let managed_by = spec.and_then(|spec| spec.managed_by.as_deref());
        if ["Complete", "Failed", "SuccessCriteriaMet"].iter().any(|type_| condition(&job, type_).is_some()) {
            return found("it has finished");
        }
        if spec.and_then(|spec| spec.suspend) == Some(true) {
            return found("it is suspended");
        }
        if managed_by.is_some_and(|by| by != KUBERNETES_JOB_CONTROLLER) {
            return found("another controller manages it");
        }
        if job.status.as_ref().is_none_or(|status| status.start_time.is_none()) {
            return found("it has not started");
        }
        Ok(job)
    }

    pub(super) async fn fail_job(
        &mut self,
        pod: &PodRef,
        reason: LostReason,
        message: &str,
    ) -> Result<(), EnforceError> {
        if self.job.is_bare() {
            return self.fail_bare_pod(reason.as_str(), message).await;
        }
        let job = self.second_look().await?;
        if self.is_failing(&job, reason.as_str())? {
            return Ok(());
        }
        let Some(live) = self.live_pod(pod).await? else {
            return Err(EnforceError::SecondLook { what: self.what(Some(&pod.name)), found: "it is gone" });
        };
        self.still_in_question(&live)?;
        self.write_verdict(&job, reason.as_str(), message).await?;
        self.happened(format!("the Job was failed with reason {reason}"));
        // The API server does not refuse FailureTarget beside a pod that has succeeded since.
        if self.live_pod(pod).await?.is_some_and(|pod| super::pod::phase(&pod) == Some("Succeeded")) {
            self.late_success = Some(pod.name.clone());
        }
        Ok(())
    }

    pub(super) async fn end_job(&mut self, reason: EndReason, message: &str) -> Result<(), EnforceError> {
        if self.job.is_bare() {
            return self.fail_bare_pod(reason.as_str(), message).await;
        }
        let job = self.second_look().await?;
        if self.is_failing(&job, reason.as_str())? {
            return Ok(());
        }
        let active = job.status.as_ref().and_then(|status| status.active).unwrap_or(0);
        if reason == EndReason::NotStarting && active > 0 {
            return Err(EnforceError::SecondLook { what: self.what(None), found: "it has a pod" });
        }
        self.write_verdict(&job, reason.as_str(), message).await?;
        self.happened(format!("the Job was failed with reason {reason}"));
        Ok(())
    }

    /// Whether the verdict was written before, by us. One of somebody else's stands.
    fn is_failing(&self, job: &Job, reason: &str) -> Result<bool, EnforceError> {
        match condition(job, "FailureTarget") {
            None => Ok(false),
            Some(by) if by == reason => Ok(true),
            Some(_) => Err(EnforceError::SecondLook { what: self.what(None), found: "it is failing already" }),
        }
    }

    async fn write_verdict(&self, job: &Job, reason: &str, message: &str) -> Result<(), EnforceError> {
        match self.executor.fail_with {
            FailWith::FailureTarget => self.set_failure_target(job, reason, message).await,
            FailWith::ActiveDeadline => self.end_by_deadline(job).await,
        }
    }

    async fn set_failure_target(&self, job: &Job, reason: &str, message: &str) -> Result<(), EnforceError> {
        // By strategic merge the condition is added to the others; only the Job controller may add Failed itself.
        let now = format!("{:.0}", present());
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
        let patched = self.jobs.patch_status(&self.job.name, &ours(), &Patch::Strategic(patch)).await;
        patched.map_err(|source| EnforceError::api("fail", self.what(None), source))?;
        Ok(())
    }

    async fn end_by_deadline(&self, job: &Job) -> Result<(), EnforceError> {
        let patch = json!({
            "metadata": { "uid": job.metadata.uid, "resourceVersion": job.metadata.resource_version },
            "spec": { "activeDeadlineSeconds": 1 }
        });
        let patched = self.jobs.patch(&self.job.name, &ours(), &Patch::Merge(patch)).await;
        patched.map_err(|source| EnforceError::api("set a deadline for", self.what(None), source))?;
        Ok(())
    }

    pub(super) async fn confirm_deleted(&mut self) -> Result<(), EnforceError> {
        if self.job.is_bare() {
            return self.confirm_bare_pod_deleted().await;
        }
        let Some(job) = self.live_job().await? else { return Ok(()) };
        let found = |found| Err(EnforceError::SecondLook { what: self.what(None), found });
        if job.metadata.deletion_timestamp.is_none() {
            return found("it is not being deleted");
        }
        if condition(&job, "Complete").is_some() || condition(&job, "Failed").is_some() {
            return found("it has finished");
        }
        self.deleted = Some(job);
        Ok(())
    }

    pub(super) async fn release_finalizer(&mut self) -> Result<(), EnforceError> {
        let Some(job) = self.live_job().await? else { return Ok(()) };
        let mut finalizers = job.metadata.finalizers.unwrap_or_default();
        let before = finalizers.len();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        if finalizers.len() == before {
            return Ok(());
        }
        // A merge patch replaces the list, so the resourceVersion has to make sure that it is the one we read.
        let patch = json!({ "metadata": {
            "uid": job.metadata.uid,
            "resourceVersion": job.metadata.resource_version,
            "finalizers": finalizers,
        } });
        match self.jobs.patch(&self.job.name, &ours(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(source) => Err(EnforceError::api("release", self.what(None), source)),
        }
    }

    pub(super) async fn delete_job(&mut self) -> Result<(), EnforceError> {
        let Some(job) = self.live_job().await? else { return Ok(()) };
        if condition(&job, "Complete").is_none() && condition(&job, "Failed").is_none() {
            return Err(EnforceError::SecondLook { what: self.what(None), found: "it has not finished" });
        }
        if job.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let preconditions = Preconditions { uid: job.metadata.uid, ..Preconditions::default() };
        match self.jobs.delete(&self.job.name, &DeleteParams::background().preconditions(preconditions)).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(source) => Err(EnforceError::api("delete", self.what(None), source)),
        }
    }
}

/// The reason of a condition that holds; empty where it gives none.
fn condition<'a>(job: &'a Job, type_: &str) -> Option<&'a str> {
    let conditions = job.status.as_ref()?.conditions.as_deref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "True")?;
    Some(condition.reason.as_deref().unwrap_or_default())
}
