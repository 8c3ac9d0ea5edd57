//! What the watches pass to the observer: objects that were applied, deleted or listed.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{PoisonError, RwLockReadGuard},
};

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
use crate::clock;

impl Observer {
    pub(crate) fn job(&self, job: &Job) {
        let policies = self.policies();
        let Some((facts, bad)) = JobFacts::read(job, &policies, clock::now()) else { return };
        let is_new = self.with(|index, now| {
            let is_new = !index.knows(&facts.identity.uid);
            index.apply_job(facts.clone(), now);
            is_new
        });
        for beyond in policies.exceeded(&facts.own).iter().filter(|_| is_new) {
            let (namespace, job) = (&facts.identity.namespace, &facts.identity.name);
            tracing::warn!(namespace, job, %beyond, "annotation beyond a limit");
        }
        // Warn once per Job, since Jobs change often.
        for bad in bad.iter().filter(|_| is_new) {
            let (namespace, job) = (&facts.identity.namespace, &facts.identity.name);
            tracing::warn!(namespace, job, %bad, "invalid annotation; using the default");
        }
    }

    /// Applies the last state of a deleted Job, which may say how the Job ended. A Job that is not in the index is not added: it may
    /// have been removed on purpose.
    pub(crate) fn job_deleted(&self, job: &Job) {
        let policies = self.policies();
        let Some((facts, _)) = JobFacts::read(job, &policies, clock::now()) else { return };
        let uid = facts.identity.uid.clone();
        self.with(|index, now| {
            if index.knows(&uid) {
                index.apply_job(facts, now);
                index.delete_job(&uid, now);
            } else {
                index.unknown_gone(uid.as_str());
            }
        });
    }

    /// Takes up a Job that was listed because not all of its namespace are followed. Returns its facts if it is still not followed.
    pub(crate) fn take_up(&self, job: &Job) -> Option<JobFacts> {
        let policies = self.policies();
        let (facts, _) = JobFacts::read(job, &policies, clock::now())?;
        let is_followed = self.with(|index, now| index.take_up(facts.clone(), now));
        (!is_followed).then_some(facts)
    }

    /// Takes up a pod likewise.
    pub(crate) fn take_up_pod(&self, pod: &Pod) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        if !self.with(|index, _| index.knows_pod(&uid.into()) || index.went_away(uid)) {
            self.pod(pod);
        }
    }

    /// Calls `f` with the layers of policies.
    pub(crate) fn with_policies<T>(&self, f: impl FnOnce(&Policies) -> T) -> T {
        f(&self.policies())
    }

    fn policies(&self) -> RwLockReadGuard<'_, Policies> {
        self.0.policies.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn namespace(&self, namespace: &Namespace) {
        let Some(name) = namespace.metadata.name.as_deref() else { return };
        let enrolled = self.0.own_namespaces.enrols(&namespace.metadata);
        self.with(|index, now| index.set_enrolled(name, enrolled, now));
        let unset = BTreeMap::new();
        let annotations = namespace.metadata.annotations.as_ref().unwrap_or(&unset);
        let (changes, bad) = Changes::by_annotations(annotations);
        if self.update_policies(|policies| policies.set_namespace(name, changes, &bad)) {
            tracing::info!(namespace = name, "namespace policy changed");
            for bad in bad {
                tracing::warn!(namespace = name, %bad, "invalid annotation; using the default");
            }
        }
    }

    pub(crate) fn namespace_deleted(&self, namespace: &Namespace) {
        let Some(name) = namespace.metadata.name.as_deref() else { return };
        self.with(|index, now| index.set_enrolled(name, false, now));
        self.update_policies(|policies| policies.set_namespace(name, Changes::default(), &[]));
    }

    pub(crate) fn namespaces_listed(&self, listed: &HashSet<String>) {
        self.with(|index, now| index.namespaces_listed(|name| listed.contains(name), now));
        self.update_policies(|policies| policies.retain_namespaces(|name| listed.contains(name)));
    }

    pub(crate) fn jobs_listed(&self, listed: &HashSet<JobUid>) {
        self.with(|index, now| index.jobs_listed(listed, now));
    }

    pub(crate) fn pod(&self, pod: &Pod) {
        let Some(facts) = PodFacts::read(pod) else { return };
        let policies = self.policies();
        let bare = JobFacts::of_bare_pod(pod, &policies, clock::now());
        let (bare, bad) = bare.unzip();
        let (is_new, is_foreign) = self.with(|index, now| {
            let is_new = !index.knows_pod(&facts.uid);
            if let Some(bare) = bare
                && !index.apply_job(bare, now)
            {
                return (false, false);
            }
            let before = index.foreign_pods().count();
            index.apply_pod(facts, now);
            (is_new, index.foreign_pods().count() > before)
        });
        let metadata = &pod.metadata;
        if is_foreign {
            let (namespace, pod) = (metadata.namespace.as_deref(), metadata.name.as_deref());
            tracing::warn!(namespace, pod, "pod ignored: it names a Job as its controller and is not one of its pods");
        }
        for bad in bad.iter().flatten().filter(|_| is_new) {
            let (namespace, pod) = (metadata.namespace.as_deref(), metadata.name.as_deref());
            tracing::warn!(namespace, pod, %bad, "invalid annotation; using the default");
        }
    }

    pub(crate) fn pod_deleted(&self, pod: &Pod) {
        let Some(facts) = PodFacts::read(pod) else { return };
        let uid = facts.uid.clone();
        let policies = self.policies();
        let bare = JobFacts::of_bare_pod(pod, &policies, clock::now());
        self.with(|index, now| {
            if index.knows_pod(&uid) {
                if let Some((bare, _)) = bare {
                    index.apply_job(bare, now);
                }
                index.apply_pod(facts, now);
                index.delete_pod(&uid, now);
            } else {
                index.unknown_gone(uid.as_str());
            }
        });
    }

    pub(crate) fn pods_listed(&self, listed: &HashSet<PodUid>) {
        self.with(|index, now| index.pods_listed(listed, now));
    }

    pub(crate) fn node(&self, node: &Node) {
        if let Some(facts) = NodeFacts::read(node) {
            self.with(|index, now| index.apply_node(&facts, now));
        }
    }

    pub(crate) fn node_deleted(&self, node: &Node) {
        if let Some(facts) = NodeFacts::read(node) {
            self.with(|index, now| index.delete_node(&facts.name, now));
        }
    }

    pub(crate) fn nodes_listed(&self, listed: &HashSet<NodeName>) {
        self.with(|index, now| index.nodes_listed(listed, now));
    }

    pub(crate) fn lease(&self, lease: &Lease) {
        if let Some(facts) = LeaseFacts::read(lease) {
            self.with(|index, now| index.apply_lease(&facts, now));
        }
    }

    pub(crate) fn lease_deleted(&self, lease: &Lease) {
        if let Some(facts) = LeaseFacts::read(lease) {
            self.with(|index, _| index.delete_lease(&facts.node));
        }
    }
}
