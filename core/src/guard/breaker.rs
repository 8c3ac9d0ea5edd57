//! The breaker: holds lost verdicts while too many Jobs are lost at one time.
//!
//! Many losses at once are rather a fault of the network, of a zone or of ourselves than so many dead workers. The deadlines
//! of Jobs that fell silent together lie apart by a beat interval, a report and a renewal of the Lease, so verdicts alone
//! would be seen one by one, and the first twenty be enforced. Therefore a Job counts as soon as its loss is in sight
//! ([`crate::judge::preview`]): when no witness has been heard of for half of lost-after at most. And because looks at Jobs
//! take turns, every Job that is due is noted here before anything is written for any.
//!
//! What comes back does not do so in one instant either: a sidecar that could not reach us tries again within 15 s, a kubelet
//! renews within 10 s. When so many are back that the numbers say no more, those that are about to be would be taken for
//! dead. Therefore the breaker lets go only when nobody has come back for a while.
//!
//! A value without I/O and without a clock. Each note costs the same however many Jobs there are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jobwarden_common::identity::JobUid;

use self::count::{Change, Count, Share};
pub use self::standing::{Place, Standing};
use super::{Hold, Scope};
use crate::moment::Moment;

mod count;
mod standing;

/// More Jobs than this have to be lost in the cluster…
const JOBS: usize = 20;
/// …and more of them than this, in percent of all that are open.
const PERCENT: usize = 10;

/// Of the Jobs of a zone this many in percent have to be lost…
const ZONE_PERCENT: usize = 55;
/// …and more than this many: of two or three Jobs, all may well be lost for a reason of their own…
const ZONE_JOBS: usize = 5;
/// …on this many nodes at least: on one, it is the node that died, and not the zone…
const ZONE_NODES_LOST: usize = 2;
/// …where the zone has this many nodes at least.
const ZONE_NODES: usize = 3;

/// For how long nobody may have come back before it lets go: twice the longest pause of a sidecar that could not reach us.
const SETTLED_AFTER: Duration = Duration::from_secs(30);
/// After how long it lets go although Jobs still come back: those that do so for ever are no outage that heals.
const SETTLED_AT_LAST: Duration = Duration::from_mins(2);

/// Knows of every open Job where its pods are, and whether it is lost or about to be.
///
/// Counted are a Job whose loss is in sight or held, and one whose loss was let through, for one lost-after from then on: so
/// losses that come one after the other add up as well. It holds while the numbers say so, and then until things have
/// settled.
#[derive(Debug, Default)]
pub struct Breaker {
    // Boxed, for a table that has just grown is half empty.
    jobs: HashMap<JobUid, Box<Entry>>,
    cluster: Count,
    zones: HashMap<Arc<str>, Count>,
    /// When what was let through counts no more.
    expiries: BTreeSet<(Moment, JobUid)>,
}

/// One Job. Memory: there is one for each that is open.
#[derive(Debug, Default)]
struct Entry {
    standing: Standing,
    spent: Spent,
}

/// What became of the loss of a Job.
#[derive(Debug, Default)]
enum Spent {
    /// It counts while it is in sight.
    #[default]
    No,
    /// It was let through and counts until then, whatever is seen of it.
    Until {
        at: Moment,
        places: Vec<Place>,
        /// It was over and another is in sight, which will count by itself.
        another: bool,
    },
    /// It was let through, counts no more, and is still in sight, for by policy nothing is done about it.
    Over,
}

impl Entry {
    /// Where the loss is that counts, if one does.
    fn counted(&self) -> Option<&[Place]> {
        match (&self.spent, &self.standing.loss) {
            (Spent::No | Spent::Until { another: true, .. }, Some(places)) | (Spent::Until { places, .. }, _) => {
                Some(places.as_slice())
            }
            (Spent::No | Spent::Over, _) => None,
        }
    }

    /// Its share in the count of the cluster; none if it need not be remembered.
    fn share(&self) -> Option<Share> {
        let share = if self.counted().is_some() { Share::Lost(BTreeSet::new()) } else { Share::Well };
        (!self.is_idle()).then_some(share)
    }

    /// Its shares in the counts of the zones where it has pods, or had lost ones.
    fn shares(&self) -> BTreeMap<Arc<str>, Share> {
        if self.is_idle() {
            return BTreeMap::new();
        }
        let mut shares: BTreeMap<_, _> =
            self.standing.zones.iter().map(|zone| (Arc::clone(zone), Share::Well)).collect();
        for place in self.counted().unwrap_or_default() {
            let Some(zone) = &place.zone else { continue };
            let share = shares.entry(Arc::clone(zone)).or_insert(Share::Well);
            match share {
                Share::Lost(nodes) => nodes.extend(place.node.clone()),
                Share::Well => *share = Share::Lost(place.node.clone().into_iter().collect()),
            }
        }
        shares
    }

    fn is_idle(&self) -> bool {
        !self.standing.open && matches!(self.spent, Spent::No | Spent::Over)
    }
}

impl Breaker {
    /// How a Job stands at `now`. To be told of every open Job, whenever that may have changed.
    pub fn note(&mut self, job: &JobUid, standing: Standing, now: Moment) {
        self.expire(now);
        self.change(job, now, |entry| {
            let (before, after) = (entry.standing.loss.is_some(), standing.loss.is_some());
            match &mut entry.spent {
                Spent::Until { another, .. } => *another = after && (*another || !before),
                spent @ Spent::Over if !after => *spent = Spent::No,
                Spent::No | Spent::Over => {}
            }
            entry.standing = standing;
        });
    }

    /// The loss of a Job is let through at `now`: it is enforced, or told only. It counts `until` then.
    pub fn let_through(&mut self, job: &JobUid, now: Moment, until: Moment) {
        self.expire(now);
        let mut expiry = None;
        self.change(job, now, |entry| {
            let Some(places) = entry.standing.loss.clone() else { return };
            // It was let through before, and is looked at again: it counts from the first time on.
            if matches!(entry.spent, Spent::No | Spent::Until { another: true, .. }) {
                entry.spent = Spent::Until { at: until, places, another: false };
                expiry = Some(until);
            }
        });
        if let Some(at) = expiry {
            self.expiries.insert((at, job.clone()));
        }
    }

    /// What holds back the loss of a Job at `now`, where a zone has so many nodes.
    pub fn hold(&mut self, job: &JobUid, nodes_in: impl Fn(&str) -> usize, now: Moment) -> Option<Hold> {
        self.expire(now);
        if self.cluster.holds(now) {
            let (lost, of) = self.counted();
            return Some(Hold::Breaker { scope: Scope::Cluster, lost, of });
        }
        let places = self.jobs.get(job).and_then(|entry| entry.counted())?;
        let tripped = places.iter().filter_map(|place| place.zone.as_ref()).find_map(|zone| {
            let count = self.zones.get(zone)?;
            let holds = count.holds(now) && nodes_in(zone) >= ZONE_NODES;
            holds.then_some((count.lost, count.jobs))
        });
        tripped.map(|(lost, of)| Hold::Breaker { scope: Scope::Zone, lost, of })
    }

    /// How many Jobs count as lost, and of how many.
    pub fn counted(&self) -> (usize, usize) {
        (self.cluster.lost, self.cluster.jobs)
    }

    /// Forgets everything: another leads.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn change(&mut self, job: &JobUid, now: Moment, change: impl FnOnce(&mut Entry)) {
        let mut entry = self.jobs.remove(job).unwrap_or_default();
        let (of_cluster, mut of_zones) = (entry.share(), entry.shares());
        change(&mut entry);
        let is_back = entry.standing.open && entry.standing.loss.is_none();
        let change = Change { before: of_cluster, after: entry.share(), is_back, now };
        self.cluster.change(change, |count| count.lost > JOBS && count.lost * 100 > count.jobs * PERCENT);
        let mut now_of_zones = entry.shares();
        let zones: BTreeSet<_> = of_zones.keys().chain(now_of_zones.keys()).cloned().collect();
        for zone in zones {
            let count = self.zones.entry(Arc::clone(&zone)).or_default();
            let (before, after) = (of_zones.remove(&zone), now_of_zones.remove(&zone));
            let change = Change { before, after, is_back, now };
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
            self.change(&job, at, |entry| match &entry.spent {
                Spent::Until { at: until, another, .. } if *until == at => {
                    let told_only = entry.standing.loss.is_some() && !another;
                    entry.spent = if told_only { Spent::Over } else { Spent::No };
                }
                Spent::Until { .. } | Spent::No | Spent::Over => {}
            });
        }
    }
}

#[cfg(test)]
mod tests;
