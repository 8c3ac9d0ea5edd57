//! The watched kinds, and the observer methods that receive their objects.

use std::{collections::HashSet, fmt::Debug, hash::Hash};

use jobwarden_common::identity::{JobUid, NodeName, PodUid};
use k8s_openapi::api::{
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{Namespace, Node, Pod},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::DeserializeOwned;

use super::Watch;
use crate::observer::Observer;

/// A kind of object that is watched.
pub(super) trait Watched: Resource + Clone + DeserializeOwned + Debug + Send + 'static {
    /// The watch of this kind.
    const WATCH: Watch;
    /// Identifies an object of this kind.
    type Key: Eq + Hash;

    /// The key of the object with this metadata; `None` if the API server sent an object without one, which it never does.
    fn key(metadata: &ObjectMeta) -> Option<Self::Key>;
    /// Called when the object was listed, created or changed.
    fn applied(&self, observer: &Observer);
    /// Called with the last state of a deleted object.
    fn deleted(&self, observer: &Observer);
    /// Called with the keys of all existing objects.
    fn listed(keys: &HashSet<Self::Key>, observer: &Observer);
}

impl Watched for Job {
    const WATCH: Watch = Watch::Jobs;
    type Key = JobUid;

    fn key(metadata: &ObjectMeta) -> Option<JobUid> {
        metadata.uid.clone().map(Into::into)
    }

    fn applied(&self, observer: &Observer) {
        observer.job(self);
    }

    fn deleted(&self, observer: &Observer) {
        observer.job_deleted(self);
    }

    fn listed(keys: &HashSet<JobUid>, observer: &Observer) {
        observer.jobs_listed(keys);
    }
}

impl Watched for Pod {
    const WATCH: Watch = Watch::Pods;
    type Key = PodUid;

    fn key(metadata: &ObjectMeta) -> Option<PodUid> {
        metadata.uid.clone().map(Into::into)
    }

    fn applied(&self, observer: &Observer) {
        observer.pod(self);
    }

    fn deleted(&self, observer: &Observer) {
        observer.pod_deleted(self);
    }

    fn listed(keys: &HashSet<PodUid>, observer: &Observer) {
        observer.pods_listed(keys);
    }
}

impl Watched for Node {
    const WATCH: Watch = Watch::Nodes;
    type Key = NodeName;

    fn key(metadata: &ObjectMeta) -> Option<NodeName> {
        metadata.name.clone().map(Into::into)
    }

    fn applied(&self, observer: &Observer) {
        observer.node(self);
    }

    fn deleted(&self, observer: &Observer) {
        observer.node_deleted(self);
    }

    fn listed(keys: &HashSet<NodeName>, observer: &Observer) {
        observer.nodes_listed(keys);
    }
}

impl Watched for Lease {
    const WATCH: Watch = Watch::Leases;
    type Key = NodeName;

    fn key(metadata: &ObjectMeta) -> Option<NodeName> {
        metadata.name.clone().map(Into::into)
    }

    fn applied(&self, observer: &Observer) {
        observer.lease(self);
    }

    fn deleted(&self, observer: &Observer) {
        observer.lease_deleted(self);
    }

    /// Nothing to do: a deleted Lease is not renewed any more, and only renewals count.
    fn listed(_: &HashSet<NodeName>, _: &Observer) {}
}

impl Watched for Namespace {
    const WATCH: Watch = Watch::Namespaces;
    type Key = String;

    fn key(metadata: &ObjectMeta) -> Option<String> {
        metadata.name.clone()
    }

    fn applied(&self, observer: &Observer) {
        observer.namespace(self);
    }

    fn deleted(&self, observer: &Observer) {
        observer.namespace_deleted(self);
    }

    fn listed(keys: &HashSet<String>, observer: &Observer) {
        observer.namespaces_listed(keys);
    }
}
