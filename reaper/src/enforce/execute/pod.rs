//! Steps about a pod.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, Preconditions};
use serde_json::json;

use super::{EnforceError, Walk, error::is_not_found, ours, present};
use crate::{
    enforce::step::{PodRef, Removal},
    verdict::LostReason,
};

impl Walk<'_> {
    /// The pod as it is now; `None` if it is gone, though another of its name may be there.
    pub(super) async fn live_pod(&self, pod: &PodRef) -> Result<Option<Pod>, EnforceError> {
        let found = self.pods.get_opt(&pod.name).await;
        let found = found.map_err(|source| EnforceError::api("read", self.what(Some(&pod.name)), source))?;
        Ok(found.filter(|live| live.metadata.uid.as_deref() == Some(pod.uid.as_str())))
    }

    /// The second look at a pod: it has not ended, and it is this Job's, or the bare pod itself.
    pub(super) fn still_in_question(&self, pod: &Pod) -> Result<(), EnforceError> {
        let found = |found| Err(EnforceError::SecondLook { what: self.what(pod.metadata.name.as_deref()), found });
        if ended(pod) {
            return found("it has ended by its kubelet's account");
        }
        let mut owners = pod.metadata.owner_references.iter().flatten();
        let owned = owners.any(|owner| owner.controller == Some(true) && owner.uid == self.job.uid.as_str());
        if !owned && !self.job.is_bare() {
            return found("it is not the Job's any more");
        }
        Ok(())
    }

    pub(super) async fn delete_pod(&mut self, pod: &PodRef, why: Removal) -> Result<(), EnforceError> {
        if why == Removal::Lost {
            self.second_look().await?;
        }
        let Some(live) = self.live_pod(pod).await? else { return Ok(()) };
        if live.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        match (self.still_in_question(&live), why) {
            (Ok(()), Removal::Lost | Removal::JobDeleted) => {}
            (Ok(()), Removal::Failing) => self.bears_our_verdict(&live)?,
            (Err(error), Removal::Lost) => return Err(error),
            // Of a deleted Job, such pods are the garbage collector's, or somebody else's by now; a bare one has ended.
            (Err(_), Removal::JobDeleted | Removal::Failing) => return Ok(()),
        }
        self.delete(pod, DeleteParams::default()).await?;
        self.happened(format!("pod {} was deleted", pod.name));
        Ok(())
    }

    pub(super) async fn give_up_pod(
        &mut self,
        pod: &PodRef,
        reason: LostReason,
        message: &str,
    ) -> Result<(), EnforceError> {
        let Some(live) = self.live_pod(pod).await? else { return Ok(()) };
        if ended(&live) {
            return Ok(());
        }
        if live.metadata.deletion_timestamp.is_none() {
            // A living kubelet would write Running back, and the Job would count wrongly.
            return Err(EnforceError::SecondLook { what: self.what(Some(&pod.name)), found: "it is not terminating" });
        }
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
                    "lastTransitionTime": format!("{:.0}", present()),
                }]
            }
        });
        match self.pods.patch_status(&pod.name, &ours(), &Patch::Strategic(patch)).await {
            Ok(_) => {}
            Err(error) if is_not_found(&error) => return Ok(()),
            Err(source) => return Err(EnforceError::api("give up", self.what(Some(&pod.name)), source)),
        }
        self.happened(format!("pod {} was given up", pod.name));
        Ok(())
    }

    pub(super) async fn force_delete_pod(&mut self, pod: &PodRef) -> Result<(), EnforceError> {
        let Some(live) = self.live_pod(pod).await? else { return Ok(()) };
        let found = |found| Err(EnforceError::SecondLook { what: self.what(Some(&pod.name)), found });
        if live.metadata.deletion_timestamp.is_none() {
            return found("it is not terminating");
        }
        if !ended(&live) {
            return found("it has not ended");
        }
        self.delete(pod, DeleteParams::default().grace_period(0)).await?;
        self.happened(format!("pod {} was removed", pod.name));
        Ok(())
    }

    async fn delete(&self, pod: &PodRef, params: DeleteParams) -> Result<(), EnforceError> {
        let preconditions = Preconditions { uid: Some(pod.uid.to_string()), ..Preconditions::default() };
        match self.pods.delete(&pod.name, &params.preconditions(preconditions)).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(source) => Err(EnforceError::api("delete", self.what(Some(&pod.name)), source)),
        }
    }
}

/// `status.phase`.
pub(super) fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

fn ended(pod: &Pod) -> bool {
    matches!(phase(pod), Some("Succeeded" | "Failed"))
}
