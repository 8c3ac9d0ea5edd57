//! A tally of affected nodes: in the cluster and in each zone.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jobwarden_common::identity::NodeName;

use super::{
    group::{Group, Leave, Limit},
    schedule::next_release,
};
use crate::{guard::Scope, moment::Moment};

/// The cluster trips when at least three nodes are affected together, and more than 30 % of the nodes that carry workers.
const CLUSTER: Limit = Limit { members: 3, of: 0, percent: 30, more_than: true };
/// A zone trips when at least 55 % of its nodes that carry workers are affected, if there are three or more.
const ZONE: Limit = Limit { members: 1, of: 3, percent: 55, more_than: false };

/// The affected nodes of the cluster and of each zone.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeTally {
    cluster: Group<NodeName>,
    zones: BTreeMap<Arc<str>, Group<NodeName>>,
    last_release: Option<Moment>,
}

impl NodeTally {
    /// Sets how many nodes carry workers, in the cluster and in each zone.
    pub(super) fn set_of(&mut self, cluster: usize, zones: &BTreeMap<Arc<str>, usize>) {
        self.cluster.of = cluster;
        for (zone, group) in &mut self.zones {
            group.of = zones.get(zone).copied().unwrap_or_default();
        }
        for (zone, of) in zones {
            self.zones.entry(Arc::clone(zone)).or_default().of = *of;
        }
        self.zones.retain(|_, group| !group.is_empty());
    }

    /// A node is affected since `since`.
    pub(super) fn join(&mut self, node: &NodeName, zone: Option<&Arc<str>>, since: Moment) {
        self.cluster.join(node, since);
        if let Some(zone) = zone {
            self.zones.entry(Arc::clone(zone)).or_default().join(node, since);
        }
    }

    /// A node is not affected any more, or carries no workers any more.
    pub(super) fn leave(&mut self, node: &NodeName, how: Leave, now: Moment) {
        self.groups_mut().for_each(|group| group.leave(node, how, now));
    }

    /// Trips and releases by what is true at `now`. Returns whether a node was released.
    pub(super) fn settle(&mut self, now: Moment) -> bool {
        let released = self.cluster.settle(CLUSTER, now);
        self.zones.values_mut().fold(released, |released, zone| zone.settle(ZONE, now) || released)
    }

    /// Releases the next node if it is due. Returns whether one was.
    pub(super) fn release_due(&mut self, hold_for: Duration, now: Moment) -> bool {
        let Some((at, node)) = next_release(self.groups().flat_map(Group::held), self.last_release, hold_for) else {
            return false;
        };
        if now < at {
            return false;
        }
        let node = node.clone();
        self.last_release = Some(now);
        self.groups_mut().for_each(|group| group.release(&node));
        true
    }

    /// Releases every node that is held. Returns how many were.
    pub(super) fn release_all(&mut self, now: Moment) -> usize {
        let mut held: Vec<_> = self.groups().flat_map(Group::held).map(|(node, _)| node.clone()).collect();
        held.sort_unstable();
        held.dedup();
        let returned: Vec<_> = self.groups().flat_map(Group::returned).cloned().collect();
        for node in held.iter().chain(&returned) {
            self.groups_mut().for_each(|group| group.release(node));
        }
        self.settle(now);
        held.len()
    }

    /// The scope and the counts of the group that holds a loss on this node.
    pub(super) fn hold(&self, node: &NodeName) -> Option<(Scope, (usize, usize))> {
        let zone = || self.zones.values().find(|zone| zone.holds(node)).map(|zone| (Scope::Zone, zone.counts()));
        if self.cluster.holds(node) { Some((Scope::Cluster, self.cluster.counts())) } else { zone() }
    }

    /// All affected nodes.
    pub(super) fn cluster(&self) -> &Group<NodeName> {
        &self.cluster
    }

    /// The groups that have tripped, with the name of a zone.
    pub(super) fn tripped(&self) -> impl Iterator<Item = (Option<&Arc<str>>, &Group<NodeName>)> {
        let zones = self.zones.iter().map(|(zone, group)| (Some(zone), group));
        std::iter::once((None, &self.cluster)).chain(zones).filter(|(_, group)| group.trip().is_some())
    }

    /// When a node was last released by the schedule.
    pub(super) fn last_release(&self) -> Option<Moment> {
        self.last_release
    }

    fn groups(&self) -> impl Iterator<Item = &Group<NodeName>> {
        std::iter::once(&self.cluster).chain(self.zones.values())
    }

    fn groups_mut(&mut self) -> impl Iterator<Item = &mut Group<NodeName>> {
        std::iter::once(&mut self.cluster).chain(self.zones.values_mut())
    }
}
