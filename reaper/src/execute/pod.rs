//! Steps on a pod.

use jobwarden_core::{
    plan::step::{PodRef, Removal},
    second_look::{self, Proceed},
    verdict::LostReason,
};
use jobwarden_serve::field_manager::patch_params;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, Preconditions};
use serde_json::json;

use super::{ExecuteError, StepRunner, clock::condition_time, error::is_not_found};

impl StepRunner<'_> {
    /// The live pod; `None` if it is gone, even if another pod has its name.
    pub(super) async fn live_pod(&self, pod: &PodRef) -> Result<Option<Pod>, ExecuteError> {
        let found = self.pods.get_opt(&pod.name).await;
        let found = found.map_err(|source| ExecuteError::api("read", self.describe(Some(&pod.name)), source))?;
        Ok(found.filter(|live| live.metadata.uid.as_deref() == Some(pod.uid.as_str())))
    }

    pub(super) async fn delete_pod(&mut self, pod: &PodRef, why: Removal) -> Result<(), ExecuteError> {
        if why == Removal::Lost {
            self.open_job().await?;
        }
        let live = self.live_pod(pod).await?;
        let answer = second_look::delete_pod(self.job, live.as_ref(), why);
        if self.second_look(Some(&pod.name), answer)? == Proceed::AlreadyDone {
            return Ok(());
        }
        self.delete(pod, DeleteParams::default()).await?;
        self.log_done(format!("pod {} was deleted", pod.name));
        Ok(())
    }

    pub(super) async fn mark_pod_failed(
        &mut self,
        pod: &PodRef,
        reason: LostReason,
        message: &str,
    ) -> Result<(), ExecuteError> {
        let live = self.live_pod(pod).await?;
        let answer = second_look::mark_pod_failed(live.as_ref());
        let (Proceed::Write, Some(live)) = (self.second_look(Some(&pod.name), answer)?, live) else { return Ok(()) };
        let patch = json!({
            "metadata": { "uid": live.metadata.uid, "resourceVersion": live.metadata.resource_version },
            "status": {
                "phase": "Failed",
                "reason": reason.as_str(),
                "message": message,
                "conditions": [{
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": reason.as_str(),
                    "message": message,
                    "lastTransitionTime": condition_time(),
                }]
            }
        });
        match self.pods.patch_status(&pod.name, &patch_params(), &Patch::Strategic(patch)).await {
            Ok(_) => {}
            Err(error) if is_not_found(&error) => return Ok(()),
            Err(source) => return Err(ExecuteError::api("mark as Failed", self.describe(Some(&pod.name)), source)),
        }
        self.log_done(format!("pod {} was marked Failed", pod.name));
        Ok(())
    }

    pub(super) async fn force_delete_pod(&mut self, pod: &PodRef) -> Result<(), ExecuteError> {
        let live = self.live_pod(pod).await?;
        let answer = second_look::force_delete_pod(live.as_ref());
        if self.second_look(Some(&pod.name), answer)? == Proceed::AlreadyDone {
            return Ok(());
        }
        self.delete(pod, DeleteParams::default().grace_period(0)).await?;
        self.log_done(format!("pod {} was removed", pod.name));
        Ok(())
    }

    async fn delete(&self, pod: &PodRef, params: DeleteParams) -> Result<(), ExecuteError> {
        let preconditions = Preconditions { uid: Some(pod.uid.to_string()), ..Preconditions::default() };
        match self.pods.delete(&pod.name, &params.preconditions(preconditions)).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(source) => Err(ExecuteError::api("delete", self.describe(Some(&pod.name)), source)),
        }
    }
}

/// `status.phase`.
pub(super) fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}
