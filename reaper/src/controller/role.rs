//! The pod label by which the Service for beats selects the leader.

use std::time::Duration;

use jobwarden_common::names::{label, label_value};
use jobwarden_serve::field_manager::patch_params;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{ListParams, Patch},
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

/// The pause before a failed write of the label is retried.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long removing the own label may take. The next leader removes the label, too.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);

/// The role label of this reaper's pod.
pub struct Role {
    pods: Api<Pod>,
    own_pod: String,
}

impl Role {
    /// The role of the pod `own_pod` in jobwarden's own `namespace`.
    pub fn new(client: Client, namespace: &str, own_pod: &str) -> Self {
        Self { pods: Api::namespaced(client, namespace), own_pod: own_pod.to_owned() }
    }

    /// Routes beats to this pod: removes the label from other pods, then adds it to this pod. Retries until both succeed.
    pub(super) async fn claim(&self) {
        while let Err(error) = self.try_claim().await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(
                pod = self.own_pod,
                error,
                "cannot label the leader's pod, so that no beats arrive; retrying"
            );
            sleep(RETRY_AFTER).await;
        }
        tracing::info!(pod = self.own_pod, "this pod now receives beats");
    }

    async fn try_claim(&self) -> Result<(), kube::Error> {
        let leaders = ListParams::default().labels(&format!("{}={}", label::ROLE, label_value::LEADER));
        for pod in self.pods.list(&leaders).await? {
            let name = pod.metadata.name.unwrap_or_default();
            if name != self.own_pod {
                self.set(&name, Value::Null).await?;
            }
        }
        self.set(&self.own_pod, json!(label_value::LEADER)).await
    }

    /// Removes the label from this pod.
    pub(super) async fn release(&self) {
        match timeout(RELEASE_TIMEOUT, self.set(&self.own_pod, Value::Null)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(pod = self.own_pod, error, "cannot remove the leader label; the next leader removes it");
            }
            Err(_) => {
                tracing::warn!(pod = self.own_pod, "removing the leader label timed out; the next leader removes it");
            }
        }
    }

    /// Sets or removes the label of a pod. A pod that is gone is ignored.
    async fn set(&self, pod: &str, role: Value) -> Result<(), kube::Error> {
        let patch = json!({ "metadata": { "labels": { label::ROLE: role } } });
        match self.pods.patch_metadata(pod, &patch_params(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::{Failure, FakeApi};

    const ME: &str = "/api/v1/namespaces/jobwarden/pods/reaper-1";
    const OTHER: &str = "/api/v1/namespaces/jobwarden/pods/reaper-0";

    fn role(api: &FakeApi) -> Role {
        Role::new(api.client(), "jobwarden", "reaper-1")
    }

    fn pods() -> FakeApi {
        let api = FakeApi::default();
        api.put(ME, json!({ "metadata": { "labels": { "app": "reaper" } } }));
        api.put(OTHER, json!({ "metadata": { "labels": { "app": "reaper", label::ROLE: label_value::LEADER } } }));
        api
    }

    fn label_of(api: &FakeApi, pod: &str) -> Value {
        api.get(pod).expect("the pod exists")["metadata"]["labels"][label::ROLE].clone()
    }

    #[tokio::test]
    async fn the_label_is_removed_from_the_former_leader_first() {
        let api = pods();
        role(&api).claim().await;
        assert_eq!((label_of(&api, OTHER), label_of(&api, ME)), (Value::Null, json!("leader")));
        assert_eq!(api.writes(), [format!("PATCH {OTHER}"), format!("PATCH {ME}")]);
        role(&api).release().await;
        assert_eq!(label_of(&api, ME), Value::Null);
        assert_eq!(api.get(ME).expect("the pod exists")["metadata"]["labels"], json!({ "app": "reaper" }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_write_of_the_label_is_retried() {
        let api = pods();
        api.fail(0, Failure::Before);
        role(&api).claim().await;
        assert_eq!((label_of(&api, OTHER), label_of(&api, ME)), (Value::Null, json!("leader")));
    }
}
