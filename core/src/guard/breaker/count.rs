//! How many Jobs there are somewhere, how many of them are lost, and whether that is too many.

use std::collections::{BTreeMap, BTreeSet};

use jobwarden_common::identity::NodeName;

use super::{SETTLED_AFTER, SETTLED_AT_LAST};
use crate::moment::Moment;

/// The Jobs of a cluster or of a zone.
#[derive(Debug, Default)]
pub(super) struct Count {
    /// How many there are.
    pub(super) jobs: usize,
    /// How many of them count as lost.
    pub(super) lost: usize,
    /// On which nodes, and how many on each.
    pub(super) nodes: BTreeMap<NodeName, usize>,
    trip: Trip,
}

/// Whether too many are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trip {
    /// No.
    #[default]
    No,
    /// Yes.
    Yes,
    /// Not any more.
    Settling { since: Moment, last_return: Moment },
}

/// What one Job is to a count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// It is well.
    Well,
    /// It counts as lost, on these nodes.
    Lost(BTreeSet<NodeName>),
}

/// What becomes of the share of one Job; it has none where it is not.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) before: Option<Share>,
    pub(super) after: Option<Share>,
    /// It is open, and nothing of it is lost.
    pub(super) is_back: bool,
    pub(super) now: Moment,
}

impl Count {
    /// Counts a change in; `too_many` says what is too many.
    pub(super) fn change(&mut self, change: Change, too_many: impl FnOnce(&Self) -> bool) {
        let Change { before, after, is_back, now } = change;
        let was_lost = matches!(before, Some(Share::Lost(_)));
        if let Some(share) = before {
            self.remove(share);
        }
        if let Some(share) = after {
            self.add(share);
        }
        self.trip = match self.trip {
            _ if too_many(self) => Trip::Yes,
            Trip::Yes => Trip::Settling { since: now, last_return: now },
            Trip::Settling { since, .. } if was_lost && is_back => Trip::Settling { since, last_return: now },
            trip => trip,
        };
        if !self.holds(now) {
            self.trip = Trip::No;
        }
    }

    /// Whether too many are lost, or were until a moment ago.
    pub(super) fn holds(&self, now: Moment) -> bool {
        match self.trip {
            Trip::No => false,
            Trip::Yes => true,
            Trip::Settling { since, last_return } => now < last_return + SETTLED_AFTER && now < since + SETTLED_AT_LAST,
        }
    }

    fn add(&mut self, share: Share) {
        self.jobs += 1;
        let Share::Lost(nodes) = share else { return };
        self.lost += 1;
        for node in nodes {
            *self.nodes.entry(node).or_default() += 1;
        }
    }

    fn remove(&mut self, share: Share) {
        self.jobs = self.jobs.saturating_sub(1);
        let Share::Lost(nodes) = share else { return };
        self.lost = self.lost.saturating_sub(1);
        for node in nodes {
            if let Some(jobs) = self.nodes.get_mut(&node) {
                *jobs -= 1;
                if *jobs == 0 {
                    self.nodes.remove(&node);
                }
            }
        }
    }
}
