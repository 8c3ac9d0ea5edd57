//! Leases of nodes, the node lifecycle controller, eviction by taint, pod garbage collection, and the scheduler.

use std::time::Duration;

use crate::{
    state::{pod::Phase, received_signals::ReceivedSignals, watch::Kind},
    world::{Event, World},
};

/// How often a kubelet renews its Lease: a quarter of `leaseDurationSeconds`.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(10);
/// `--node-monitor-grace-period` since Kubernetes 1.32.
const MONITOR_GRACE: Duration = Duration::from_secs(50);
/// How long pods tolerate a node that reports itself not ready (`DefaultTolerationSeconds`).
pub(crate) const NOT_READY_TOLERATION: Duration = Duration::from_mins(5);

impl World<'_> {
    pub(crate) fn node_is_online(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        node.down == 0 && node.cut_off == 0 && self.cluster.api_is_up()
    }

    /// The kubelet syncs every pod of a node again.
    pub(crate) fn kubelet_is_back(&mut self, node: usize) {
        for pod in 0..self.pods.len() {
            if self.pods[pod].node == Some(node) && (self.pods[pod].exists || self.pods[pod].actual.known) {
                self.kubelet_sync_soon(pod);
            }
        }
    }

    /// A kubelet renews its Lease, and updates the node's status if it has changed.
    pub(crate) fn renew_lease(&mut self, node: usize) {
        self.after(RENEW_EVERY, Event::Renew(node));
        let it = &self.nodes[node];
        if !it.renews() || !self.cluster.api_is_up() {
            return;
        }
        let ready = it.not_ready == 0;
        self.nodes[node].renewed = self.now;
        self.publish(Kind::Lease(node), false);
        if self.nodes[node].reported_boot != self.nodes[node].boots {
            self.nodes[node].reported_boot = self.nodes[node].boots;
            self.publish(Kind::Node(node), false);
        }
        if self.nodes[node].ready != ready {
            self.set_ready(node, ready, NOT_READY_TOLERATION);
        }
    }

    /// The node lifecycle controller checks when the Lease of a node was last renewed.
    pub(crate) fn monitor_node(&mut self, node: usize) {
        let due = self.nodes[node].renewed + MONITOR_GRACE;
        if self.now < due {
            return self.at(due, Event::Monitor(node));
        }
        self.after(Duration::from_secs(5), Event::Monitor(node));
        if self.cluster.api_is_up() && self.nodes[node].ready && self.nodes[node].exists {
            self.set_ready(node, false, Duration::MAX);
        }
    }

    fn set_ready(&mut self, node: usize, ready: bool, at_most: Duration) {
        self.log(|| format!("node-{node} is {}", if ready { "Ready" } else { "not Ready" }));
        let it = &mut self.nodes[node];
        (it.ready, it.ready_changed) = (ready, self.now);
        it.taints += 1;
        let taints = it.taints;
        self.provider_looks_at(node);
        if ready {
            return;
        }
        for pod in self.pods_on(node) {
            let tolerated = self.history.jobs[self.pods[pod].job].toleration.min(at_most);
            self.after(tolerated, Event::Evict { pod, node, taints });
        }
    }

    /// The cloud provider taints a node that is not ready and whose machine is shut down, and removes the taint from any other.
    pub(crate) fn provider_looks_at(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        if it.exists && it.out_of_service == 0 {
            let is_tainted = it.shut_down > 0 && !it.ready;
            it.gone_since = is_tainted.then(|| it.gone_since.unwrap_or(self.laws.signal_clock.at(self.now)));
        }
        self.publish(Kind::Node(node), false);
    }

    fn pods_on(&self, node: usize) -> Vec<usize> {
        (0..self.pods.len()).filter(|&pod| self.pods[pod].node == Some(node) && self.pods[pod].exists).collect()
    }

    /// The taint manager deletes a pod when its toleration has ended.
    pub(crate) fn evict(&mut self, pod: usize, node: usize, taints: u32) {
        if self.nodes[node].taints != taints || !self.pods[pod].is_open() {
            return;
        }
        if !self.cluster.api_is_up() {
            return self.after(Duration::from_secs(5), Event::Evict { pod, node, taints });
        }
        let name = self.pods[pod].name.clone();
        self.log(|| format!("pod {name} is evicted by taint"));
        self.delete_pod(pod);
    }

    /// A Node object is deleted, and its Lease with it.
    pub(crate) fn delete_node(&mut self, node: usize) {
        if !std::mem::replace(&mut self.nodes[node].exists, false) {
            return;
        }
        self.nodes[node].gone_since = Some(self.laws.signal_clock.at(self.now));
        self.publish(Kind::Node(node), true);
        self.publish(Kind::Lease(node), true);
        self.collect_pods(node);
    }

    /// A kubelet registers its node again.
    pub(crate) fn register_node(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        (it.exists, it.ready, it.gone_since) = (true, true, None);
        it.reported_boot = it.boots;
        (it.renewed, it.ready_changed) = (self.now, self.now);
        it.taints += 1;
        self.publish(Kind::Node(node), false);
        self.publish(Kind::Lease(node), false);
    }

    /// The taint `out-of-service` is set or removed.
    pub(crate) fn taint_out_of_service(&mut self, node: usize, on: bool) {
        let it = &mut self.nodes[node];
        it.taints += 1;
        let taints = it.taints;
        it.gone_since = on.then(|| self.laws.signal_clock.at(self.now));
        if !it.exists {
            return;
        }
        self.publish(Kind::Node(node), false);
        if on {
            for pod in self.pods_on(node) {
                self.after(Duration::from_secs(1), Event::Evict { pod, node, taints });
            }
            self.collect_pods(node);
        }
    }

    fn collect_pods(&mut self, node: usize) {
        for pod in self.pods_on(node) {
            let after = self.nodes[node].dice.seconds(40, 60);
            self.after(after, Event::CollectPod(pod));
        }
    }

    /// Pod garbage collection (`pkg/controller/podgc`): pods of a node that is deleted, and terminating ones of a node
    /// that is out of service.
    pub(crate) fn collect_pod(&mut self, pod: usize) {
        let Some(node) = self.pods[pod].node.filter(|_| self.pods[pod].exists) else { return };
        let it = &self.nodes[node];
        if it.exists && it.out_of_service == 0 {
            return;
        }
        let off = it.out_of_service > 0 && !it.ready && self.pods[pod].deleting;
        if !self.cluster.api_is_up() || (it.exists && !off) {
            return self.after(Duration::from_secs(20), Event::CollectPod(pod));
        }
        if !self.pods[pod].status.phase.is_terminal() {
            self.pods[pod].status.phase = Phase::Failed;
            self.publish(Kind::Pod(pod), false);
        }
        self.remove_pod(pod);
    }

    /// The scheduler binds a pod.
    pub(crate) fn schedule(&mut self, pod: usize) {
        let it = &self.pods[pod];
        if !it.exists || it.node.is_some() {
            return;
        }
        let again = Duration::from_secs(5);
        if !self.cluster.api_is_up() || self.jobs[it.job].unschedulable > 0 {
            return self.after(again, Event::Schedule(pod));
        }
        let last = self.nodes.len() - 1;
        let only_last = self.history.safe_node && it.attempt >= self.history.jobs[it.job].pods;
        let on_node = self.history.jobs[it.job].on_node;
        let fits = |node: &usize| {
            let it = &self.nodes[*node];
            let chosen = on_node.is_none_or(|only| only == *node);
            it.exists && it.ready && it.out_of_service == 0 && (!only_last || *node == last) && chosen
        };
        let fitting: Vec<_> = (0..self.nodes.len()).filter(fits).collect();
        if fitting.is_empty() {
            return self.after(again, Event::Schedule(pod));
        }
        let node = fitting[self.pods[pod].dice.below(fitting.len())];
        (self.pods[pod].node, self.pods[pod].bound) = (Some(node), self.now);
        self.pods[pod].received = ReceivedSignals::reset_at(self.laws.signal_clock.at(self.now));
        let name = self.pods[pod].name.clone();
        self.log(|| format!("pod {name} is bound to node-{node}"));
        self.publish(Kind::Pod(pod), false);
        self.actual_state_changed(pod);
        self.kubelet_sync_soon(pod);
    }
}
