//! The breaker: holds losses while too many Jobs are lost at the same time.
//!
//! Many losses at once indicate a fault of the network, of a zone or of the reaper rather than many dead workers. The deadlines of
//! Jobs that went silent together differ by a beat interval, a report interval and a Lease renewal. By their verdicts alone they
//! would be seen one by one, and the first twenty would be acted on. Therefore a Job counts as soon as its loss is predicted
//! ([`crate::judge::preview`]): when no signal has arrived for at most half of lost-after. And because Jobs are evaluated in turns,
//! every Job that is due is previewed before anything is written for any of them.
//!
//! Jobs do not recover all at once either: a sidecar that cannot connect retries within 15 s, and a kubelet renews its Lease within
//! 10 s. When enough Jobs have recovered for the count to be below the limits, those that are about to recover would be taken for
//! dead. Therefore the breaker releases only when no Job has recovered for a while.
//!
//! A value without I/O and without a clock. Each update costs the same however many Jobs there are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jobwarden_common::identity::JobUid;

use self::count::{Change, Count, Counted};
pub use self::job_status::{JobStatus, Location};
use super::{Hold, Scope};
use crate::moment::Moment;

mod count;
mod job_status;

/// The breaker trips when more Jobs than this are lost in the cluster,
const JOBS: usize = 20;
/// and more than this percentage of all open Jobs.
const PERCENT: usize = 10;

/// It trips for a zone when at least this percentage of the Jobs of the zone is lost,
const ZONE_PERCENT: usize = 55;
/// and more Jobs than this: all of two or three Jobs may well be lost for reasons of their own,
const ZONE_JOBS: usize = 5;
/// on at least this many nodes: on a single node, the node failed and not the zone,
const ZONE_NODES_LOST: usize = 2;
/// and the zone has at least this many nodes.
const ZONE_NODES: usize = 3;

/// Counts the lost Jobs of the cluster and of each zone, and holds losses while there are too many.
///
/// A Job counts as lost while its loss is predicted or held, and for one lost-after once its loss was acted on, so that losses
/// that follow one another add up too. The breaker holds while the counts exceed the limits, and then until no more Jobs recover.
#[derive(Debug, Default)]
pub struct Breaker {
    // Boxed because a table that has just grown is half empty.
    jobs: HashMap<JobUid, Box<Entry>>,
    cluster: Count,
    zones: HashMap<Arc<str>, Count>,
    /// When losses that were acted on stop counting.
    expiries: BTreeSet<(Moment, JobUid)>,
}

/// One Job. Its size matters: there is an entry for every open Job.
#[derive(Debug, Default)]
struct Entry {
    status: JobStatus,
    acted_on: ActedOn,
}

/// Whether the loss of a Job was acted on.
#[derive(Debug, Default)]
enum ActedOn {
    /// No: the loss counts while it is predicted or held.
    #[default]
    No,
    /// Yes: the loss counts until `at`, whatever happens to the Job.
    Until {
        at: Moment,
        locations: Vec<Location>,
        /// The Job recovered, and another loss followed that will count by itself.
        another: bool,
    },
    /// Yes, and it no longer counts. The Job is still lost because by policy the loss is only reported.
    Expired,
}

impl Entry {
    /// The locations of the loss that counts; `None` if none does.
    fn counted_loss(&self) -> Option<&[Location]> {
        match (&self.acted_on, &self.status.loss) {
            (ActedOn::No | ActedOn::Until { another: true, .. }, Some(locations))
            | (ActedOn::Until { locations, .. }, _) => Some(locations.as_slice()),
            (ActedOn::No | ActedOn::Expired, _) => None,
        }
    }

    /// How the Job is counted in the cluster.
    fn in_cluster(&self) -> Option<Counted> {
        let counted = if self.counted_loss().is_some() { Counted::Lost(BTreeSet::new()) } else { Counted::Healthy };
        (!self.is_idle()).then_some(counted)
    }

    /// How the Job is counted in each zone where it has pods or lost some.
    fn in_zones(&self) -> BTreeMap<Arc<str>, Counted> {
        if self.is_idle() {
            return BTreeMap::new();
        }
        let mut zones: BTreeMap<_, _> =
            self.status.zones.iter().map(|zone| (Arc::clone(zone), Counted::Healthy)).collect();
        for location in self.counted_loss().unwrap_or_default() {
            let Some(zone) = &location.zone else { continue };
            let counted = zones.entry(Arc::clone(zone)).or_insert(Counted::Healthy);
            match counted {
                Counted::Lost(nodes) => nodes.extend(location.node.clone()),
                Counted::Healthy => *counted = Counted::Lost(location.node.clone().into_iter().collect()),
            }
        }
        zones
    }

    /// Whether the entry need not be kept.
    fn is_idle(&self) -> bool {
        !self.status.open && matches!(self.acted_on, ActedOn::No | ActedOn::Expired)
    }
}

impl Breaker {
    /// Records the status of a Job at `now`. Called for every open Job whenever its status may have changed.
    pub fn update(&mut self, job: &JobUid, status: JobStatus, now: Moment) {
        self.expire(now);
        self.change(job, now, |entry| {
            let (was_lost, is_lost) = (entry.status.loss.is_some(), status.loss.is_some());
            match &mut entry.acted_on {
                ActedOn::Until { another, .. } => *another = is_lost && (*another || !was_lost),
                acted_on @ ActedOn::Expired if !is_lost => *acted_on = ActedOn::No,
                ActedOn::No | ActedOn::Expired => {}
            }
            entry.status = status;
        });
    }

    /// The loss of a Job is acted on at `now`: steps follow from it, or it is reported. It counts `until` then.
    pub fn record_acted_on(&mut self, job: &JobUid, now: Moment, until: Moment) {
        self.expire(now);
        let mut expiry = None;
        self.change(job, now, |entry| {
            let Some(locations) = entry.status.loss.clone() else { return };
            // A loss that was acted on before and is evaluated again counts from the first time on.
            if matches!(entry.acted_on, ActedOn::No | ActedOn::Until { another: true, .. }) {
                entry.acted_on = ActedOn::Until { at: until, locations, another: false };
                expiry = Some(until);
            }
        });
        if let Some(at) = expiry {
            self.expiries.insert((at, job.clone()));
        }
    }

    /// The hold on the loss of a Job at `now`. `nodes_in` gives the number of nodes in a zone.
    pub fn hold(&mut self, job: &JobUid, nodes_in: impl Fn(&str) -> usize, now: Moment) -> Option<Hold> {
        self.expire(now);
        if self.cluster.holds(now) {
            let (lost, of) = self.counts();
            return Some(Hold::Breaker { scope: Scope::Cluster, lost, of });
        }
        let locations = self.jobs.get(job).and_then(|entry| entry.counted_loss())?;
        let tripped = locations.iter().filter_map(|location| location.zone.as_ref()).find_map(|zone| {
            let count = self.zones.get(zone)?;
            let holds = count.holds(now) && nodes_in(zone) >= ZONE_NODES;
            holds.then_some((count.lost, count.jobs))
        });
        tripped.map(|(lost, of)| Hold::Breaker { scope: Scope::Zone, lost, of })
    }

    /// How many Jobs count as lost, and how many are open.
    pub fn counts(&self) -> (usize, usize) {
        (self.cluster.lost, self.cluster.jobs)
    }

    /// Removes all Jobs, because another reaper leads.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn change(&mut self, job: &JobUid, now: Moment, change: impl FnOnce(&mut Entry)) {
        let mut entry = self.jobs.remove(job).unwrap_or_default();
        let (in_cluster_before, mut in_zones_before) = (entry.in_cluster(), entry.in_zones());
        change(&mut entry);
        let has_recovered = entry.status.open && entry.status.loss.is_none();
        let change = Change { before: in_cluster_before, after: entry.in_cluster(), has_recovered, now };
        self.cluster.change(change, |count| count.lost > JOBS && count.lost * 100 > count.jobs * PERCENT);
        let mut in_zones_after = entry.in_zones();
        let zones: BTreeSet<_> = in_zones_before.keys().chain(in_zones_after.keys()).cloned().collect();
        for zone in zones {
            let count = self.zones.entry(Arc::clone(&zone)).or_default();
            let (before, after) = (in_zones_before.remove(&zone), in_zones_after.remove(&zone));
            let change = Change { before, after, has_recovered, now };
            count.change(change, |count| {
                count.lost > ZONE_JOBS
                    && count.lost * 100 >= count.jobs * ZONE_PERCENT
                    && count.nodes.len() >= ZONE_NODES_LOST
            });
            if count.jobs == 0 {
                self.zones.remove(&zone);
            }
        }
        if !entry.is_idle() {
            self.jobs.insert(job.clone(), entry);
        }
    }

    fn expire(&mut self, now: Moment) {
        while let Some((at, _)) = self.expiries.first()
            && *at <= now
            && let Some((at, job)) = self.expiries.pop_first()
        {
            self.change(&job, at, |entry| match &entry.acted_on {
                ActedOn::Until { at: until, another, .. } if *until == at => {
                    let is_only_reported = entry.status.loss.is_some() && !another;
                    entry.acted_on = if is_only_reported { ActedOn::Expired } else { ActedOn::No };
                }
                ActedOn::Until { .. } | ActedOn::No | ActedOn::Expired => {}
            });
        }
    }
}

#[cfg(test)]
mod tests;
