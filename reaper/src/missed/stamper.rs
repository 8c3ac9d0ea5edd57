//! One object that admission has missed.

use std::sync::Arc;

use jobwarden_common::names::{FIELD_MANAGER, SIDECAR_CONTAINER, label};
use jobwarden_inject::{
    identity::Rules,
    patch::{self, Operations},
    view,
};
use json_patch::{PatchOperation, TestOperation, jsonptr::PointerBuf};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
};
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;

use super::{Found, Kind};

/// Figures of what admission has missed; clones are the same figures.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    stamped: Family<[(&'static str, &'static str); 1], Counter>,
    unguarded: Counter,
}

impl Metrics {
    /// Shows them in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let Self { stamped, unguarded } = self;
        registry.register(
            "jobwarden_stamped",
            "Jobs and pods that admission has missed and that were labelled later",
            stamped.clone(),
        );
        registry.register(
            "jobwarden_unguarded_pods",
            "Worker pods that run without a sidecar, since admission has missed them",
            unguarded.clone(),
        );
    }
}

/// Why an object has to be tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum StampError {
    #[error("cannot read it")]
    Read(#[source] kube::Error),
    #[error("what the API server sends is not understood")]
    Content(#[source] serde_json::Error),
    #[error("cannot patch it")]
    Patch(#[source] kube::Error),
}

/// Stamps objects that exist.
pub(super) struct Stamper {
    client: Client,
    rules: watch::Receiver<Arc<Rules>>,
    finalizer: bool,
    metrics: Metrics,
}

impl Stamper {
    pub(super) fn new(client: Client, rules: watch::Receiver<Arc<Rules>>, finalizer: bool, metrics: Metrics) -> Self {
        Self { client, rules, finalizer, metrics }
    }

    /// Does to the object what can still be done of its admission. One that is gone, has finished, or has been stamped by now needs
    /// nothing.
    pub(super) async fn stamp(&self, found: &Found) -> Result<(), StampError> {
        let Found { kind, namespace, name } = found;
        match kind {
            Kind::Job => {
                self.apply::<Job>(namespace, name, "Job", |text, job| self.of_job(text, job)).await?;
            }
            Kind::Pod => {
                let stamped = self.apply::<Pod>(namespace, name, "Pod", |text, pod| self.of_pod(text, pod)).await?;
                if stamped.is_some_and(|pod| !has_sidecar(&pod)) {
                    tracing::warn!(
                        namespace,
                        pod = name,
                        "this worker pod has no sidecar, for admission missed it; only its node's agent can tell that it lives"
                    );
                    self.metrics.unguarded.inc();
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

    /// Reads the object, and patches it as `decide` says; returns it if it was patched.
    async fn apply<K>(
        &self,
        namespace: &str,
        name: &str,
        kind: &'static str,
        decide: impl FnOnce(&str, &K) -> Result<Option<Operations>, serde_json::Error>,
    ) -> Result<Option<K>, StampError>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        // As text, too: the rules look at it as admission does, and know nothing of our types.
        let path = format!("{}/{name}", K::url_path(&(), Some(namespace)));
        let request = http::Request::get(path).body(Vec::new()).expect("names of objects fit into a path");
        let text = match self.client.request_text(request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            read => read.map_err(StampError::Read)?,
        };
        let object: K = serde_json::from_str(&text).map_err(StampError::Content)?;
        let metadata = object.meta();
        if metadata.deletion_timestamp.is_some() || object.labels().contains_key(label::ENROLLED) {
            return Ok(None);
        }
        let Some(operations) = decide(&text, &object).map_err(StampError::Content)? else { return Ok(None) };
        let version = metadata.resource_version.clone().unwrap_or_default();
        let unchanged = TestOperation {
            path: PointerBuf::from_tokens(["metadata", "resourceVersion"]),
            value: Value::String(version),
        };
        let operations = [PatchOperation::Test(unchanged)].into_iter().chain(operations.to_patch().0).collect();
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        match api.patch_metadata(name, &params, &Patch::<()>::Json(json_patch::Patch(operations))).await {
            Ok(_) => {
                tracing::info!(kind, namespace, name, "admission missed it; it is labelled now");
                self.metrics.stamped.get_or_create(&[("kind", kind)]).inc();
                Ok(Some(object))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(StampError::Patch(error)),
        }
    }
}

fn has_sidecar(pod: &Pod) -> bool {
    let mut containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    containers.any(|container| container.name == SIDECAR_CONTAINER)
}
