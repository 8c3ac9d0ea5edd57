//! Which namespaces are enrolled.

use jobwarden_common::names::object;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;

use super::snapshot::Snapshot;

/// Whether the webhook configuration excludes the namespace, labelled or not.
pub(super) fn is_exempt(snapshot: &Snapshot, namespace: &Namespace) -> bool {
    [snapshot.namespace.as_str(), object::AGENT, "kube-system"].contains(&namespace.name_any().as_str())
}

/// The namespaces among `labelled` that are checked: their pods are admitted now, and the user has not asked for another one.
pub(super) fn effective<'a>(snapshot: &Snapshot, labelled: &'a [Namespace]) -> impl Iterator<Item = &'a Namespace> {
    let is_asked_for = |it: &Namespace| snapshot.only.as_ref().is_none_or(|only| *only == it.name_any());
    labelled
        .iter()
        .filter(move |it| it.metadata.deletion_timestamp.is_none() && !is_exempt(snapshot, it) && is_asked_for(it))
}
