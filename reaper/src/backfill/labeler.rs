//! Labels one object that was created without admission.

use std::sync::Arc;

use jobwarden_common::names::{SIDECAR_CONTAINER, label};
use jobwarden_inject::{
    identity::Rules,
    patch::{self, Operations},
    view,
};
use jobwarden_serve::field_manager::patch_params;
use json_patch::{PatchOperation, TestOperation, jsonptr::PointerBuf};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Api, Client, Resource, ResourceExt as _, api::Patch};
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;

use super::target::{Kind, Target};

/// Metrics of the backfill. Clones share the same metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    labelled: Family<[(&'static str, &'static str); 1], Counter>,
    without_sidecar: Counter,
}

impl Metrics {
    /// Registers the metrics in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let Self { labelled, without_sidecar } = self;
        registry.register(
            "jobwarden_stamped",
            "Jobs and pods that were created without admission and labelled later",
            labelled.clone(),
        );
        registry.register(
            "jobwarden_unguarded_pods",
            "Worker pods without a sidecar, because they were created without admission",
            without_sidecar.clone(),
        );
    }
}

/// Why labelling an object failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum LabelError {
    #[error("cannot read the object")]
    Read(#[source] kube::Error),
    #[error("cannot parse the object")]
    Content(#[source] serde_json::Error),
    #[error("cannot patch the object")]
    Patch(#[source] kube::Error),
}

/// Labels existing objects.
pub(super) struct Labeler {
    client: Client,
    rules: watch::Receiver<Arc<Rules>>,
    finalizer: bool,
    metrics: Metrics,
}

impl Labeler {
    pub(super) fn new(client: Client, rules: watch::Receiver<Arc<Rules>>, finalizer: bool, metrics: Metrics) -> Self {
        Self { client, rules, finalizer, metrics }
    }

    /// Applies what admission would have done and can still be done. An object that is gone, has finished or is labelled already is
    /// left as it is.
    pub(super) async fn label(&self, target: &Target) -> Result<(), LabelError> {
        let Target { kind, namespace, name } = target;
        match kind {
            Kind::Job => {
                self.apply::<Job>(namespace, name, "Job", |text, job| self.of_job(text, job)).await?;
            }
            Kind::Pod => {
                let patched = self.apply::<Pod>(namespace, name, "Pod", |text, pod| self.of_pod(text, pod)).await?;
                if patched.is_some_and(|pod| !has_sidecar(&pod)) {
                    tracing::warn!(
                        namespace,
                        pod = name,
                        "worker pod has no sidecar because it was created without admission; only the node agent can see whether it is alive"
                    );
                    self.metrics.without_sidecar.inc();
                }
            }
        }
        Ok(())
    }

    fn of_job(&self, text: &str, job: &Job) -> Result<Option<Operations>, serde_json::Error> {
        let ended = |condition: &str| matches!(condition, "Complete" | "Failed");
        let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        if conditions.into_iter().any(|condition| condition.status == "True" && ended(&condition.type_)) {
            return Ok(None);
        }
        let view: view::Job<'_> = serde_json::from_str(text)?;
        let rules = Arc::clone(&self.rules.borrow());
        Ok(patch::job::backfill(&view, &job.uid().unwrap_or_default(), &rules, self.finalizer))
    }

    fn of_pod(&self, text: &str, pod: &Pod) -> Result<Option<Operations>, serde_json::Error> {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return Ok(None);
        }
        let view: view::Pod<'_> = serde_json::from_str(text)?;
        let rules = Arc::clone(&self.rules.borrow());
        Ok(patch::pod::backfill(&view, &rules))
    }

    /// Reads the object, and patches it with the operations of `decide`. Returns the object if it was patched.
    async fn apply<K>(
        &self,
        namespace: &str,
        name: &str,
        kind: &'static str,
        decide: impl FnOnce(&str, &K) -> Result<Option<Operations>, serde_json::Error>,
    ) -> Result<Option<K>, LabelError>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        // The rules work on the JSON text, as in admission.
        let path = format!("{}/{name}", K::url_path(&(), Some(namespace)));
        let request = http::Request::get(path).body(Vec::new()).expect("object names are valid in a path");
        let text = match self.client.request_text(request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            read => read.map_err(LabelError::Read)?,
        };
        let object: K = serde_json::from_str(&text).map_err(LabelError::Content)?;
        let metadata = object.meta();
        if metadata.deletion_timestamp.is_some() || object.labels().contains_key(label::ENROLLED) {
            return Ok(None);
        }
        let Some(operations) = decide(&text, &object).map_err(LabelError::Content)? else { return Ok(None) };
        let version = metadata.resource_version.clone().unwrap_or_default();
        let unchanged = TestOperation {
            path: PointerBuf::from_tokens(["metadata", "resourceVersion"]),
            value: Value::String(version),
        };
        let operations = [PatchOperation::Test(unchanged)].into_iter().chain(operations.to_patch().0).collect();
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        match api.patch_metadata(name, &patch_params(), &Patch::<()>::Json(json_patch::Patch(operations))).await {
            Ok(_) => {
                tracing::info!(kind, namespace, name, "labelled an object that was created without admission");
                self.metrics.labelled.get_or_create(&[("kind", kind)]).inc();
                Ok(Some(object))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(LabelError::Patch(error)),
        }
    }
}

fn has_sidecar(pod: &Pod) -> bool {
    let mut containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    containers.any(|container| container.name == SIDECAR_CONTAINER)
}
