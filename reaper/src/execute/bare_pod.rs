//! Steps about a bare pod, where they are others than those about a Job.

use jobwarden_core::{
    facts::job::VERDICT,
    plan::step::PodRef,
    second_look::{self, Proceed},
};
use kube::api::Patch;
use serde_json::json;

use super::{ExecuteError, StepRunner, ours, present};

impl StepRunner<'_> {
    /// Writes the verdict on the pod, as Kubernetes' own controllers do before they delete one. What has it is deleted, and its
    /// outcome told, by whoever finds it.
    pub(super) async fn fail_bare_pod(&mut self, reason: &str, message: &str) -> Result<(), ExecuteError> {
        let live = self.live_pod(&self.bare_pod()).await?;
        let answer = second_look::fail_bare_pod(self.job, live.as_ref(), reason);
        let (Proceed::Write, Some(live)) = (self.second_look(None, answer)?, live) else { return Ok(()) };
        // By strategic merge the condition is added to the others, which are the kubelet's; it leaves this one alone. The
        // resourceVersion makes sure that the pod has not ended meanwhile.
        let patch = json!({
            "metadata": { "uid": live.metadata.uid, "resourceVersion": live.metadata.resource_version },
            "status": { "conditions": [{
                "type": VERDICT,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastTransitionTime": format!("{:.0}", present()),
            }] }
        });
        let patched = self.pods.patch_status(&self.job.name, &ours(), &Patch::Strategic(patch)).await;
        patched.map_err(|source| ExecuteError::api("fail", self.what(None), source))?;
        self.happened(format!("the pod was failed with reason {reason}"));
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
