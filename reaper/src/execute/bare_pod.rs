//! Steps on a bare pod that differ from those on a Job.

use jobwarden_core::{
    facts::job::VERDICT,
    plan::step::PodRef,
    second_look::{self, Proceed},
};
use jobwarden_serve::field_manager::patch_params;
use kube::api::Patch;
use serde_json::json;

use super::{ExecuteError, StepRunner, clock::condition_time};

impl StepRunner<'_> {
    /// Writes the verdict as a condition of the pod, as Kubernetes' own controllers do before they delete a pod. Later reconciles,
    /// also by another leader, find the condition, delete the pod and record its outcome.
    pub(super) async fn fail_bare_pod(&mut self, reason: &str, message: &str) -> Result<(), ExecuteError> {
        let live = self.live_pod(&self.bare_pod()).await?;
        let answer = second_look::fail_bare_pod(self.job, live.as_ref(), reason);
        let (Proceed::Write, Some(live)) = (self.second_look(None, answer)?, live) else { return Ok(()) };
        // A strategic merge adds the condition to the kubelet's, and the kubelet keeps conditions of other types. The
        // resourceVersion ensures that the pod has not ended meanwhile.
        let patch = json!({
            "metadata": { "uid": live.metadata.uid, "resourceVersion": live.metadata.resource_version },
            "status": { "conditions": [{
                "type": VERDICT,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastTransitionTime": condition_time(),
            }] }
        });
        let patched = self.pods.patch_status(&self.job.name, &patch_params(), &Patch::Strategic(patch)).await;
        patched.map_err(|source| ExecuteError::api("fail", self.describe(None), source))?;
        self.log_done(format!("the pod was failed with reason {reason}"));
        Ok(())
    }

    pub(super) async fn confirm_bare_pod_deleted(&self) -> Result<(), ExecuteError> {
        let live = self.live_pod(&self.bare_pod()).await?;
        self.second_look(None, second_look::bare_pod_deleted(self.job, live.as_ref()))
    }

    fn bare_pod(&self) -> PodRef {
        PodRef { uid: self.job.uid.as_str().into(), name: self.job.name.clone() }
    }
}
