//! The kinds that are watched, and whom the observer is told of.

use std::{collections::HashSet, fmt::Debug, hash::Hash};

use jobwarden_common::identity::{JobUid, NodeName, PodUid};
use k8s_openapi::api::{
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{Namespace, Node, Pod},
};
use kube::Resource;
use serde::de::DeserializeOwned;

use super::Watch;
use crate::observer::Observer;

/// A kind of object that is watched.
pub(super) trait Watched: Resource + Clone + DeserializeOwned + Debug + Send + 'static {
    /// Which watch it is of.
    const WATCH: Watch;
    /// What tells its objects apart.
    type Key: Eq + Hash;

    /// The object's; none if the API server sent one without, which it never does.
    fn key(&self) -> Option<Self::Key>;
    /// It was listed, created or changed.
    fn applied(&self, observer: &Observer);
    /// It is gone; this was its last state.
    fn deleted(&self, observer: &Observer);
    /// These are all there are.
    fn listed(keys: &HashSet<Self::Key>, observer: &Observer);
}

impl Watched for Job {
    const WATCH: Watch = Watch::Jobs;
    type Key = JobUid;

    fn key(&self) -> Option<JobUid> {
        self.metadata.uid.clone().map(Into::into)
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

    fn key(&self) -> Option<PodUid> {
        self.metadata.uid.clone().map(Into::into)
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

    fn key(&self) -> Option<NodeName> {
        self.metadata.name.clone().map(Into::into)
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

    fn key(&self) -> Option<NodeName> {
        self.metadata.name.clone().map(Into::into)
    }

    fn applied(&self, observer: &Observer) {
        observer.lease(self);
    }

    fn deleted(&self, observer: &Observer) {
        observer.lease_deleted(self);
    }

    /// A Lease that is gone does not change any more, which is all that is asked of it.
    fn listed(_: &HashSet<NodeName>, _: &Observer) {}
}

impl Watched for Namespace {
    const WATCH: Watch = Watch::Namespaces;
    type Key = String;

    fn key(&self) -> Option<String> {
        self.metadata.name.clone()
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
