//! The label by which the Service for beats finds the leader.

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

/// How long to wait before the label is written again that could not be.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long to try to take the own label off: the next leader does it as well.
const RESIGN_WITHIN: Duration = Duration::from_secs(3);

/// The role of this reaper's pod.
pub struct Role {
    pods: Api<Pod>,
    me: String,
}

impl Role {
    /// Of the pod `me` in jobwarden's own `namespace`.
    pub fn new(client: Client, namespace: &str, me: &str) -> Self {
        Self { pods: Api::namespaced(client, namespace), me: me.to_owned() }
    }

    /// Makes beats come here: first takes the label off whoever else has it, then puts it on. Tries until it is done.
    pub(super) async fn take(&self) {
        while let Err(error) = self.try_take().await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(pod = self.me, error, "cannot label the leader's pod; beats do not arrive; trying again");
            sleep(AGAIN_AFTER).await;
        }
        tracing::info!(pod = self.me, "beats come here from now on");
    }

    async fn try_take(&self) -> Result<(), kube::Error> {
        let leaders = ListParams::default().labels(&format!("{}={}", label::ROLE, label_value::LEADER));
        for pod in self.pods.list(&leaders).await? {
            let name = pod.metadata.name.unwrap_or_default();
            if name != self.me {
                self.set(&name, Value::Null).await?;
            }
        }
        self.set(&self.me, json!(label_value::LEADER)).await
    }

    /// Takes the own label off.
    pub(super) async fn resign(&self) {
        match timeout(RESIGN_WITHIN, self.set(&self.me, Value::Null)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(pod = self.me, error, "cannot take the leader's label off; the next leader will");
            }
            Err(_) => tracing::warn!(pod = self.me, "cannot take the leader's label off in time; the next leader will"),
        }
    }

    /// A pod that is gone has no role.
    async fn set(&self, pod: &str, role: Value) -> Result<(), kube::Error> {
        let patch = json!({ "metadata": { "labels": { label::ROLE: role } } });
        let params = patch_params();
        match self.pods.patch_metadata(pod, &params, &Patch::Merge(patch)).await {
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
        api.get(pod).expect("it is there")["metadata"]["labels"][label::ROLE].clone()
    }

    #[tokio::test]
    async fn the_label_is_taken_off_the_former_leader_before_it_is_put_on() {
        let api = pods();
        role(&api).take().await;
        assert_eq!((label_of(&api, OTHER), label_of(&api, ME)), (Value::Null, json!("leader")));
        assert_eq!(api.writes(), [format!("PATCH {OTHER}"), format!("PATCH {ME}")]);
        role(&api).resign().await;
        assert_eq!(label_of(&api, ME), Value::Null);
        assert_eq!(api.get(ME).expect("it is there")["metadata"]["labels"], json!({ "app": "reaper" }));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_tried_until_it_is_done() {
        let api = pods();
        api.fail(0, Failure::Before);
        role(&api).take().await;
        assert_eq!((label_of(&api, OTHER), label_of(&api, ME)), (Value::Null, json!("leader")));
    }
}
