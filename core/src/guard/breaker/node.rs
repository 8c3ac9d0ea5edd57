//! The state of one node, as the breaker counts it.

use std::{sync::Arc, time::Duration};

use jobwarden_common::identity::NodeName;

use crate::moment::Moment;

/// After how long without a renewal of its Lease, a beat and a report a node counts as silent. A healthy kubelet renews its Lease every
/// 10 s and 4 % later at most. Nodes that fall silent together differ by one renewal, and no loss is acted upon before its node has not
/// renewed for [`LEASE_STALE_AFTER_LEAST`](crate::judge::LEASE_STALE_AFTER_LEAST) (25 s): all of them count by then. The policies of Jobs
/// have no part in it, so that no annotation makes a node count.
pub const SILENT_AFTER: Duration = Duration::from_secs(12);

/// One node, as the index knows it.
#[derive(Clone, Copy, Debug)]
pub struct WorkerNode<'a> {
    /// `metadata.name`.
    pub name: &'a NodeName,
    /// Its zone.
    pub zone: Option<&'a Arc<str>>,
    /// A live worker pod is bound to it.
    pub carries_workers: bool,
    /// The Node object is deleted or out of service.
    pub is_gone: bool,
    /// When its Lease was last seen to change, or a beat or a report was last received from it.
    pub heard: Moment,
    /// Since when signals of it are missing at the earliest; [`Moment::NEVER`] while the reaper does not receive beats.
    pub listening_since: Moment,
}

/// What is known of a node at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeSign {
    /// A signal of it arrived a moment ago.
    Heard,
    /// It has been silent since then.
    Silent(Moment),
    /// The reaper has not listened for long enough to say.
    Unknown,
    /// It is deleted or out of service: nothing is to be expected of it.
    Gone,
}

impl WorkerNode<'_> {
    pub(super) fn sign(&self, now: Moment) -> NodeSign {
        let since = self.heard.max(self.listening_since);
        if self.is_gone {
            NodeSign::Gone
        } else if now < self.heard + SILENT_AFTER {
            NodeSign::Heard
        } else if now < since + SILENT_AFTER {
            NodeSign::Unknown
        } else {
            NodeSign::Silent(since)
        }
    }
}
