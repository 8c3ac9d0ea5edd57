//! Labels one object, or releases it.

use std::sync::Arc;

use jobwarden_common::names::{SIDECAR_CONTAINER, label, label_value};
use jobwarden_core::selection::Selection;
use jobwarden_inject::{
    identity::Rules,
    patch::{self, Operations},
    view,
};
use jobwarden_serve::field_manager::patch_params;
use json_patch::{PatchOperation, TestOperation, jsonptr::PointerBuf};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Namespace, Pod},
};
use kube::{Api, Client, Resource, ResourceExt as _, api::Patch};
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;

use super::target::{Kind, Target};
use crate::{deliver::Routes, namespaces::OwnNamespaces};

/// What a patch of an existing object does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// It gives the label.
    Labelled,
    /// It takes the finalizer.
    Released,
}

/// The patch of an object; `None` to leave it as it is.
type Decision = Result<Option<(Operations, Effect)>, serde_json::Error>;

/// Metrics of the backfill. Clones share the same metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    released: Counter,
    labelled: Family<[(&'static str, &'static str); 1], Counter>,
    without_sidecar: Counter,
}

impl Metrics {
    /// Registers the metrics in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let Self { released, labelled, without_sidecar } = self;
        registry.register(
            "jobwarden_stray_finalizers",
            "Finalizers removed from Jobs without the label of jobwarden that are not observed",
            released.clone(),
        );
        registry.register(
            "jobwarden_stamped",
            "Jobs and pods that had not the label of jobwarden and got it later",
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
    own: OwnNamespaces,
    selection: Selection,
    rules: watch::Receiver<Arc<Rules>>,
    routes: Routes,
    metrics: Metrics,
}

impl Labeler {
    pub(super) fn new(
        client: Client,
        own: OwnNamespaces,
        selection: Selection,
        rules: watch::Receiver<Arc<Rules>>,
        routes: Routes,
        metrics: Metrics,
    ) -> Self {
        Self { client, own, selection, rules, routes, metrics }
    }

    /// Applies what admission would have done and can still be done. An object that is gone, has finished or is labelled already is
    /// left as it is; but a Job that has our finalizer is either labelled, so that its outcome is recorded, or released.
    pub(super) async fn label(&self, target: &Target) -> Result<(), LabelError> {
        let Target { kind, namespace, name, .. } = target;
        // What we do not hold was found in an enrolled namespace. If that has left since, the Job is the index's (row J9).
        let by_namespace = if target.is_held { self.is_enrolled(namespace).await? } else { !target.is_selected };
        match kind {
            Kind::Job => {
                let is_selected = |job: &Job| target.is_selected && self.selection.selects_job(job);
                let decide = |text: &str, job: &Job| match (by_namespace, is_selected(job)) {
                    (true, _) => self.of_job(text, job, false),
                    (false, true) => self.of_job(text, job, true),
                    (false, false) => released(text),
                };
                match self.apply::<Job>(namespace, name, decide).await? {
                    Some((_, Effect::Labelled)) => self.count_labelled("Job", namespace, name),
                    Some((_, Effect::Released)) => {
                        tracing::info!(
                            namespace,
                            name,
                            "removed the finalizer of jobwarden from a Job that is not observed"
                        );
                        self.metrics.released.inc();
                    }
                    None => {}
                }
            }
            Kind::Pod if by_namespace || target.is_selected => {
                let decide = |text: &str, pod: &Pod| {
                    let stays = by_namespace || self.selection.selects_object(&pod.metadata);
                    if stays { self.of_pod(text, pod, !by_namespace) } else { Ok(None) }
                };
                let Some((pod, _)) = self.apply::<Pod>(namespace, name, decide).await? else { return Ok(()) };
                self.count_labelled("Pod", namespace, name);
                // No pod of a selected Job has a sidecar, for the webhook does not see it.
                if by_namespace && !has_sidecar(&pod) {
                    tracing::warn!(
                        namespace,
                        pod = name,
                        "worker pod has no sidecar because it was created without admission; only the node agent can see whether it is alive"
                    );
                    self.metrics.without_sidecar.inc();
                }
            }
            Kind::Pod => {}
        }
        Ok(())
    }

    fn count_labelled(&self, kind: &'static str, namespace: &str, name: &str) {
        tracing::info!(kind, namespace, name, "labelled an object that had not the label of jobwarden");
        self.metrics.labelled.get_or_create(&[("kind", kind)]).inc();
    }

    async fn is_enrolled(&self, namespace: &str) -> Result<bool, LabelError> {
        let read = Api::<Namespace>::all(self.client.clone()).get_metadata_opt(namespace).await;
        Ok(read.map_err(LabelError::Read)?.is_some_and(|namespace| self.own.enrols(&namespace.metadata)))
    }

    /// `also_ended` if a Job that has ended is labelled too: one that is selected may have ended before anybody could label it.
    fn of_job(&self, text: &str, job: &Job, also_ended: bool) -> Decision {
        let view: view::Job<'_> = serde_json::from_str(text)?;
        let rules = Arc::clone(&self.rules.borrow());
        let Some(operations) =
            patch::job::backfill(&view, &job.uid().unwrap_or_default(), &rules, !self.routes.is_empty())
        else {
            return Ok(released_from(&view));
        };
        let ended = |condition: &str| matches!(condition, "Complete" | "Failed");
        let mut conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let is_over = job.metadata.deletion_timestamp.is_some()
            || conditions.any(|condition| condition.status == "True" && ended(&condition.type_));
        if is_over && !(also_ended && job.metadata.deletion_timestamp.is_none()) {
            // The reaper records its outcome, and then releases it.
            return Ok(patch::job::release(&view).map(|_| (patch::job::relabel(&view), Effect::Labelled)));
        }
        Ok(Some((operations, Effect::Labelled)))
    }

    fn of_pod(&self, text: &str, pod: &Pod, also_ended: bool) -> Decision {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let has_ended = matches!(phase, Some("Succeeded" | "Failed")) && !also_ended;
        if pod.metadata.deletion_timestamp.is_some() || has_ended {
            return Ok(None);
        }
        let view: view::Pod<'_> = serde_json::from_str(text)?;
        let rules = Arc::clone(&self.rules.borrow());
        Ok(patch::pod::backfill(&view, &rules).map(|operations| (operations, Effect::Labelled)))
    }

    /// Reads the object, and patches it with the operations of `decide`. Returns the object if it was patched.
    async fn apply<K>(
        &self,
        namespace: &str,
        name: &str,
        decide: impl FnOnce(&str, &K) -> Decision,
    ) -> Result<Option<(K, Effect)>, LabelError>
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
        if object.labels().get(label::ENROLLED).is_some_and(|value| value == label_value::TRUE) {
            return Ok(None);
        }
        let Some((operations, effect)) = decide(&text, &object).map_err(LabelError::Content)? else { return Ok(None) };
        let version = metadata.resource_version.clone().unwrap_or_default();
        let unchanged = TestOperation {
            path: PointerBuf::from_tokens(["metadata", "resourceVersion"]),
            value: Value::String(version),
        };
        let operations = [PatchOperation::Test(unchanged)].into_iter().chain(operations.to_patch().0).collect();
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        match api.patch_metadata(name, &patch_params(), &Patch::<()>::Json(json_patch::Patch(operations))).await {
            Ok(_) => Ok(Some((object, effect))),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(LabelError::Patch(error)),
        }
    }
}

/// A Job of a namespace that is not enrolled.
fn released(text: &str) -> Decision {
    Ok(released_from(&serde_json::from_str(text)?))
}

fn released_from(view: &view::Job<'_>) -> Option<(Operations, Effect)> {
    patch::job::release(view).map(|operations| (operations, Effect::Released))
}

fn has_sidecar(pod: &Pod) -> bool {
    let mut containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    containers.any(|container| container.name == SIDECAR_CONTAINER)
}

#[cfg(test)]
mod tests;
