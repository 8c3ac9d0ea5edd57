//! Steps about a bare pod, where they are others than those about a Job.

use k8s_openapi::api::core::v1::Pod;
use kube::api::Patch;
use serde_json::json;

use super::{EnforceError, Walk, ours, present};
use crate::{
    enforce::step::PodRef,
    facts::job::{VERDICT, verdict},
};

impl Walk<'_> {
    /// Writes the verdict on the pod, as Kubernetes' own controllers do before they delete one. What has it is deleted, and its
    /// outcome told, by whoever finds it.
    pub(super) async fn fail_bare_pod(&mut self, reason: &str, message: &str) -> Result<(), EnforceError> {
        let found = |found| Err(EnforceError::SecondLook { what: self.what(None), found });
        let Some(live) = self.live_pod(&self.bare_pod()).await? else { return found("it is gone") };
        match our_verdict(&live) {
            Some(by) if by == reason => return Ok(()),
            Some(_) => return found("it is failing already"),
            None => {}
        }
        self.still_in_question(&live)?;
        if live.metadata.deletion_timestamp.is_some() {
            return found("it is being deleted");
        }
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
        patched.map_err(|source| EnforceError::api("fail", self.what(None), source))?;
        self.happened(format!("the pod was failed with reason {reason}"));
        Ok(())
    }

    pub(super) async fn confirm_bare_pod_deleted(&self) -> Result<(), EnforceError> {
        let Some(live) = self.live_pod(&self.bare_pod()).await? else { return Ok(()) };
        self.still_in_question(&live)?;
        if live.metadata.deletion_timestamp.is_none() {
            return Err(EnforceError::SecondLook { what: self.what(None), found: "it is not being deleted" });
        }
        Ok(())
    }

    /// The second look at a pod that is deleted for our verdict.
    pub(super) fn bears_our_verdict(&self, live: &Pod) -> Result<(), EnforceError> {
        match our_verdict(live) {
            Some(_) => Ok(()),
            None => Err(EnforceError::SecondLook { what: self.what(None), found: "our verdict is not on it" }),
        }
    }

    fn bare_pod(&self) -> PodRef {
        PodRef { uid: self.job.uid.as_str().into(), name: self.job.name.clone() }
    }
}

fn our_verdict(pod: &Pod) -> Option<&str> {
    pod.status.as_ref().and_then(verdict).map(|(reason, _)| reason)
}
