//! Nodes and their Leases.

use std::collections::HashSet;

use jobwarden_common::identity::{JobUid, NodeName, PodUid};

use super::{Index, QUIET};
use crate::{
    evidence::NodeState,
    facts::node::{Health, LeaseFacts, NodeFacts},
    guard::WorkerNode,
    index::records::NodeRecord,
    moment::Moment,
    timeouts::LEASE_STALE_AFTER_LEAST,
};

impl Index {
    /// A node was created or changed.
    pub fn apply_node(&mut self, facts: &NodeFacts, now: Moment) {
        let NodeFacts { name, zone, health, changed, avoided, boot_id } = facts;
        let node = self.nodes.entry(name.clone()).or_insert_with(|| NodeRecord::new(None, now));
        let moved = node.zone != *zone || node.avoided != *avoided;
        node.zone.clone_from(zone);
        node.avoided = *avoided;
        let booted = boot_id.is_some() && node.boot_id.is_some() && node.boot_id != *boot_id;
        if boot_id.is_some() {
            node.boot_id.clone_from(boot_id);
        }
        let state = match (health, node.state) {
            (Health::Ready, _) => NodeState::Ready,
            (Health::NotReady, _) => NodeState::NotReady,
            (Health::OutOfService, Some(NodeState::OutOfService { since })) => NodeState::OutOfService { since },
            (Health::OutOfService, _) => NodeState::OutOfService { since: now },
            (Health::ShutDown, Some(NodeState::ShutDown { since })) => NodeState::ShutDown { since },
            (Health::ShutDown, _) => NodeState::ShutDown { since: now },
        };
        // It may have been away while its watch was down.
        let flapped = node.changed != *changed;
        node.changed = *changed;
        if state != NodeState::Ready {
            node.ready_since = None;
        } else if flapped || node.state != Some(NodeState::Ready) {
            node.ready_since = Some(now);
        }
        let again = flapped && node.state == Some(state);
        self.set_node(name, state, now);
        if moved || again {
            self.node_changed(name);
        }
        if booted {
            self.node_rebooted(name, now);
        }
    }

    /// All nodes, as the breaker counts them.
    pub fn worker_nodes(&self) -> impl Iterator<Item = WorkerNode<'_>> {
        self.nodes.iter().map(|(name, node)| WorkerNode {
            name,
            zone: node.zone.as_ref(),
            carries_workers: node.pods.iter().any(|uid| self.is_worker(uid)),
            is_gone: node.state.is_some_and(|state| state.gone_since().is_some()),
            heard: node.lease_changed.max(node.heard.unwrap_or_default()),
            listening_since: self.listening_since(),
        })
    }

    /// Whether it is a live pod of a Job that is observed, or such a bare pod.
    fn is_worker(&self, uid: &PodUid) -> bool {
        let live = self.pods.get(uid).filter(|pod| pod.is_live());
        live.and_then(|pod| pod.facts.job.as_ref()).is_some_and(|job| self.is_observed(job))
    }

    /// The object of a node is gone.
    pub fn delete_node(&mut self, name: &NodeName, now: Moment) {
        let Some(node) = self.nodes.get(name) else { return };
        if !matches!(node.state, Some(NodeState::Deleted { .. })) {
            self.set_node(name, NodeState::Deleted { since: now }, now);
        }
        self.drop_node_if_idle(name);
    }

    /// A list of nodes is complete: nodes that are not in it are gone.
    pub fn nodes_listed(&mut self, listed: &HashSet<NodeName>, now: Moment) {
        self.nodes_listed = true;
        let gone: Vec<_> = self.nodes.keys().filter(|name| !listed.contains(*name)).cloned().collect();
        for name in gone {
            self.delete_node(&name, now);
        }
    }

    /// A Lease was listed, created or changed.
    pub fn apply_lease(&mut self, facts: &LeaseFacts, now: Moment) {
        let node = self.nodes.entry(facts.node.clone()).or_insert_with(|| NodeRecord::new(None, now));
        if node.renewed == facts.renewed {
            return;
        }
        let pause = now.since(node.lease_changed);
        (node.renewed, node.lease_changed) = (facts.renewed, now);
        if pause >= LEASE_STALE_AFTER_LEAST {
            node.lease_steady_since = now;
        }
        // Every renewal is a change of the Lease, but only the first after a pause may change a verdict.
        if pause >= QUIET {
            self.node_changed(&facts.node);
        }
    }

    /// The object of a Lease is gone. That alone means nothing: the Lease is not renewed any more, and becomes stale.
    pub fn delete_lease(&mut self, node: &NodeName) {
        self.drop_node_if_idle(node);
    }

    fn set_node(&mut self, name: &NodeName, state: NodeState, now: Moment) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let before = node.state.replace(state);
        if before == Some(state) {
            return;
        }
        if before.is_some() {
            let word = match state {
                NodeState::Ready => "became Ready",
                NodeState::NotReady => "became NotReady",
                NodeState::OutOfService { .. } => "was declared out of service",
                NodeState::ShutDown { .. } => "was reported shut down by the cloud provider",
                NodeState::Deleted { .. } => "was deleted",
            };
            for job in self.jobs_on(name) {
                self.note(Some(&job), now, format!("node {name}: {word}"));
            }
        }
        self.node_changed(name);
    }

    fn node_changed(&mut self, name: &NodeName) {
        for job in self.jobs_on(name) {
            self.mark(&job);
        }
    }

    /// The Jobs that have a live pod on this node.
    fn jobs_on(&self, name: &NodeName) -> HashSet<JobUid> {
        let pods = self.nodes.get(name).map(|node| &node.pods).into_iter().flatten();
        let live = pods.filter_map(|uid| self.pods.get(uid)).filter(|pod| pod.is_live());
        live.filter_map(|pod| pod.facts.job.clone()).collect()
    }

    fn drop_node_if_idle(&mut self, name: &NodeName) {
        if self.nodes.get(name).is_some_and(NodeRecord::is_idle) {
            self.nodes.remove(name);
        }
    }
}
