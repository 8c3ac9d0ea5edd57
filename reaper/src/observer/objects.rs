//! What the watches tell the observer of objects.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{PoisonError, RwLockReadGuard},
};

use jiff::Timestamp;
use jobwarden_common::identity::{JobUid, NodeName, PodUid};
use jobwarden_core::{
    facts::{
        job::JobFacts,
        node::{LeaseFacts, NodeFacts},
        pod::PodFacts,
    },
    policy::{Changes, Policies},
};
use k8s_openapi::api::{
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{Namespace, Node, Pod},
};

use super::Observer;

impl Observer {
    pub(crate) fn job(&self, job: &Job) {
        let policies = self.policies();
        let Some((facts, bad)) = JobFacts::read(job, &policies, Timestamp::now()) else { return };
        let is_new = self.with(|state, now| {
            let is_new = !state.knows(&facts.identity.uid);
            state.apply_job(facts.clone(), now);
            is_new
        });
        // Once a Job is enough: it changes often.
        for bad in bad.iter().filter(|_| is_new) {
            let (namespace, job) = (&facts.identity.namespace, &facts.identity.name);
            tracing::warn!(namespace, job, %bad, "the default applies instead of an annotation");
        }
    }

    /// The last state of an object may say how it ended, but is no reason to begin to know it: it may be forgotten.
    pub(crate) fn job_deleted(&self, job: &Job) {
        let policies = self.policies();
        let Some((facts, _)) = JobFacts::read(job, &policies, Timestamp::now()) else { return };
        let uid = facts.identity.uid.clone();
        self.with(|state, now| {
            if state.knows(&uid) {
                state.apply_job(facts, now);
                state.delete_job(&uid, now);
            }
        });
    }

    fn policies(&self) -> RwLockReadGuard<'_, Policies> {
        self.0.policies.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn namespace(&self, namespace: &Namespace) {
        let Some(name) = namespace.metadata.name.as_deref() else { return };
        let unset = BTreeMap::new();
        let annotations = namespace.metadata.annotations.as_ref().unwrap_or(&unset);
        let (changes, bad) = Changes::by_annotations(annotations);
        if self.reconsider(|policies| policies.set_namespace(name, changes, &bad)) {
            tracing::info!(namespace = name, "the policy of a namespace has changed");
            for bad in bad {
                tracing::warn!(namespace = name, %bad, "the default applies instead of an annotation");
            }
        }
    }

    pub(crate) fn namespace_deleted(&self, namespace: &Namespace) {
        let Some(name) = namespace.metadata.name.as_deref() else { return };
        self.reconsider(|policies| policies.set_namespace(name, Changes::default(), &[]));
    }

    pub(crate) fn namespaces_listed(&self, listed: &HashSet<String>) {
        self.reconsider(|policies| policies.retain_namespaces(|name| listed.contains(name)));
    }

    pub(crate) fn jobs_listed(&self, listed: &HashSet<JobUid>) {
        self.with(|state, now| state.jobs_listed(listed, now));
    }

    pub(crate) fn pod(&self, pod: &Pod) {
        let Some(facts) = PodFacts::read(pod) else { return };
        let policies = self.policies();
        let bare = JobFacts::of_bare_pod(pod, &policies, Timestamp::now());
        let (bare, bad) = bare.unzip();
        let is_new = self.with(|state, now| {
            let is_new = !state.knows_pod(&facts.uid);
            if let Some(bare) = bare {
                state.apply_job(bare, now);
            }
            state.apply_pod(facts, now);
            is_new
        });
        let metadata = &pod.metadata;
        for bad in bad.iter().flatten().filter(|_| is_new) {
            let (namespace, pod) = (metadata.namespace.as_deref(), metadata.name.as_deref());
            tracing::warn!(namespace, pod, %bad, "the default applies instead of an annotation");
        }
    }

    pub(crate) fn pod_deleted(&self, pod: &Pod) {
        let Some(facts) = PodFacts::read(pod) else { return };
        let uid = facts.uid.clone();
        let policies = self.policies();
        let bare = JobFacts::of_bare_pod(pod, &policies, Timestamp::now());
        self.with(|state, now| {
            if state.knows_pod(&uid) {
                if let Some((bare, _)) = bare {
                    state.apply_job(bare, now);
                }
                state.apply_pod(facts, now);
                state.delete_pod(&uid, now);
            }
        });
    }

    pub(crate) fn pods_listed(&self, listed: &HashSet<PodUid>) {
        self.with(|state, now| state.pods_listed(listed, now));
    }

    pub(crate) fn node(&self, node: &Node) {
        if let Some(facts) = NodeFacts::read(node) {
            self.with(|state, now| state.apply_node(&facts, now));
        }
    }

    pub(crate) fn node_deleted(&self, node: &Node) {
        if let Some(facts) = NodeFacts::read(node) {
            self.with(|state, now| state.delete_node(&facts.name, now));
        }
    }

    pub(crate) fn nodes_listed(&self, listed: &HashSet<NodeName>) {
        self.with(|state, now| state.nodes_listed(listed, now));
    }

    pub(crate) fn lease(&self, lease: &Lease) {
        if let Some(facts) = LeaseFacts::read(lease) {
            self.with(|state, now| state.apply_lease(&facts, now));
        }
    }

    pub(crate) fn lease_deleted(&self, lease: &Lease) {
        if let Some(facts) = LeaseFacts::read(lease) {
            self.with(|state, _| state.delete_lease(&facts.node));
        }
    }
}
