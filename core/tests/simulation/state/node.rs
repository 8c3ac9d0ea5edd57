//! The state of a node.

use std::time::Duration;

use jobwarden_common::identity::NodeName;

use crate::dice::Dice;

/// `metadata.name` of a node.
pub(crate) fn node_name(node: usize) -> NodeName {
    format!("node-{node}").into()
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its zone.
    pub(crate) zone: usize,
    /// The Node object exists.
    pub(crate) exists: bool,
    /// Its condition `Ready`, and when it last changed.
    pub(crate) ready: bool,
    pub(crate) ready_changed: Duration,
    /// When its Lease was last renewed.
    pub(crate) renewed: Duration,
    /// How many faults cause each of these.
    pub(crate) down: u32,
    pub(crate) cut_off: u32,
    pub(crate) kubelet_stopped: u32,
    pub(crate) kubelet_mute: u32,
    pub(crate) pod_network_broken: u32,
    pub(crate) agent_gone: u32,
    pub(crate) agent_blind: u32,
    pub(crate) out_of_service: u32,
    pub(crate) not_ready: u32,
    pub(crate) shut_down: u32,
    /// How often it has booted, and of which of these boots its kubelet has reported.
    pub(crate) boots: u32,
    pub(crate) reported_boot: u32,
    /// Counts the changes of its taints: an eviction that was scheduled for an earlier taint is void.
    pub(crate) taints: u32,
    /// When a change of its Lease last reached the reaper, and when the node was deleted or tainted, on the clock of
    /// [`super::signal_clock`].
    pub(crate) lease_received: i64,
    /// The first such change after a pause that may have made the Lease stale.
    pub(crate) lease_steady_since: i64,
    /// When anything of it last reached the reaper: a renewal, a beat, a report.
    pub(crate) heard_at: Duration,
    pub(crate) gone_since: Option<i64>,
    pub(crate) dice: Dice,
}

impl Node {
    pub(crate) fn new(number: usize, zone: usize, blind: bool, seed: u64) -> Self {
        Self {
            zone,
            exists: true,
            ready: true,
            ready_changed: Duration::ZERO,
            renewed: Duration::ZERO,
            down: 0,
            cut_off: 0,
            kubelet_stopped: 0,
            kubelet_mute: 0,
            pod_network_broken: 0,
            agent_gone: 0,
            agent_blind: u32::from(blind),
            out_of_service: 0,
            not_ready: 0,
            shut_down: 0,
            boots: 0,
            reported_boot: 0,
            taints: 0,
            lease_received: 0,
            lease_steady_since: 0,
            heard_at: Duration::ZERO,
            gone_since: None,
            dice: Dice::of(seed, [2, number as u64, 0]),
        }
    }

    /// The kubelet runs and acts.
    pub(crate) fn kubelet_works(&self) -> bool {
        self.down == 0 && self.kubelet_stopped == 0 && self.kubelet_mute == 0
    }

    /// The kubelet renews the Lease, as far as the node is concerned.
    pub(crate) fn renews(&self) -> bool {
        self.down == 0 && self.kubelet_stopped == 0 && self.cut_off == 0 && self.exists
    }
}
