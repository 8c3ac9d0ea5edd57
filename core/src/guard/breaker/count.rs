//! How many open Jobs there are in the cluster or a zone, how many of them are lost, and whether that is too many.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jobwarden_common::identity::NodeName;

use crate::moment::Moment;

/// How long no Job may have recovered before a tripped breaker releases: twice the longest interval at which a sidecar retries that
/// cannot connect.
const RECOVERED_AFTER: Duration = Duration::from_secs(30);
/// After how long a tripped breaker releases although Jobs still recover: Jobs that do so indefinitely are not an outage that ends.
const RELEASED_AT_LATEST_AFTER: Duration = Duration::from_mins(2);

/// The open Jobs of the cluster or of a zone.
#[derive(Debug, Default)]
pub(super) struct Count {
    /// How many open Jobs there are.
    pub(super) jobs: usize,
    /// How many of them count as lost.
    pub(super) lost: usize,
    /// The nodes of the lost Jobs, with the number of lost Jobs on each.
    pub(super) nodes: BTreeMap<NodeName, usize>,
    trip: Trip,
}

/// Whether too many Jobs are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trip {
    /// No.
    #[default]
    No,
    /// Yes.
    Yes,
    /// No longer, but Jobs are still recovering.
    Recovering { since: Moment, last_recovery: Moment },
}

/// How one Job is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// As an open Job that is not lost.
    Healthy,
    /// As lost, on these nodes.
    Lost(BTreeSet<NodeName>),
}

/// A change of how one Job is counted; `None` where it is not counted.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) before: Option<Counted>,
    pub(super) after: Option<Counted>,
    /// The Job is open and none of its pods is lost.
    pub(super) has_recovered: bool,
    pub(super) now: Moment,
}

impl Count {
    /// Applies a change. `too_many` states the limits.
    pub(super) fn change(&mut self, change: Change, too_many: impl FnOnce(&Self) -> bool) {
        let Change { before, after, has_recovered, now } = change;
        let was_lost = matches!(before, Some(Counted::Lost(_)));
        if let Some(counted) = before {
            self.remove(counted);
        }
        if let Some(counted) = after {
            self.add(counted);
        }
        self.trip = match self.trip {
            _ if too_many(self) => Trip::Yes,
            Trip::Yes => Trip::Recovering { since: now, last_recovery: now },
            Trip::Recovering { since, .. } if was_lost && has_recovered => {
                Trip::Recovering { since, last_recovery: now }
            }
            trip => trip,
        };
        if !self.holds(now) {
            self.trip = Trip::No;
        }
    }

    /// Whether too many Jobs are lost, or were until recently.
    pub(super) fn holds(&self, now: Moment) -> bool {
        match self.trip {
            Trip::No => false,
            Trip::Yes => true,
            Trip::Recovering { since, last_recovery } => {
                now < last_recovery + RECOVERED_AFTER && now < since + RELEASED_AT_LATEST_AFTER
            }
        }
    }

    fn add(&mut self, counted: Counted) {
        self.jobs += 1;
        let Counted::Lost(nodes) = counted else { return };
        self.lost += 1;
        for node in nodes {
            *self.nodes.entry(node).or_default() += 1;
        }
    }

    fn remove(&mut self, counted: Counted) {
        self.jobs = self.jobs.saturating_sub(1);
        let Counted::Lost(nodes) = counted else { return };
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
