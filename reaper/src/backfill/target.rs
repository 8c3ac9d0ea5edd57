//! Objects to backfill.

use jobwarden_common::names::FINALIZER;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// An object without jobwarden's label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
    /// It has our finalizer: it had the label before, or somebody has written the finalizer by hand.
    pub(super) is_held: bool,
}

/// The kind of a [`Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Job,
    Pod,
}

impl Target {
    /// The object with this metadata. `None` if nothing is to be done about it: it is being deleted, and we do not hold it.
    pub(super) fn of(kind: Kind, metadata: &ObjectMeta) -> Option<Self> {
        let (namespace, name) = (metadata.namespace.clone()?, metadata.name.clone()?);
        let is_held = kind == Kind::Job && metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
        let wanted = is_held || metadata.deletion_timestamp.is_none();
        wanted.then_some(Self { kind, namespace, name, is_held })
    }
}
