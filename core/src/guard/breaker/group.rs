//! A group: everything that falls under one limit together, how much of it is affected, and whether that is too much.

use std::{collections::BTreeMap, time::Duration};

use crate::moment::Moment;

/// How long ago the affliction of two members may have begun for them to count as afflicted together. It only matters before the breaker
/// trips: members of a tripped group count until they return.
pub(super) const TOGETHER: Duration = Duration::from_mins(5);
/// How long no member may have returned before a tripped group is released: twice the longest interval at which a sidecar retries that
/// cannot connect. Those that fell silent together do not return together, and those about to return must not be taken for dead.
const RETURNED_AFTER: Duration = Duration::from_secs(30);
/// After how long a tripped group is released although members still return: members that do so indefinitely are not an outage that ends.
const RELEASED_AT_LATEST_AFTER: Duration = Duration::from_mins(2);

/// The limit of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// At least so many members are affected,
    pub(super) members: usize,
    /// of at least so many in the group,
    pub(super) of: usize,
    /// and at least this percentage of them; `more_than` excludes the percentage itself.
    pub(super) percent: usize,
    pub(super) more_than: bool,
}

impl Limit {
    fn is_exceeded(self, members: usize, of: usize) -> bool {
        let (part, whole) = (members * 100, of * self.percent);
        let exceeds = if self.more_than { part > whole } else { part >= whole };
        members >= self.members && of >= self.of && exceeds
    }
}

/// The affected members of a group.
#[derive(Clone, Debug)]
pub(super) struct Group<U> {
    members: BTreeMap<U, Member>,
    trip: Option<Trip>,
    /// What returned while the group was tripped, and when. A node has returned with the first of its signals, and its other pods are
    /// about to: their losses stay held for [`RETURNED_AFTER`].
    returned: BTreeMap<U, Moment>,
    /// How many members the group has, affected or not.
    pub(super) of: usize,
}

/// An affected member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Since when it is affected.
    pub(super) since: Moment,
    /// It is still there. A member that was acted upon leaves nothing behind that could be counted, and has not returned either.
    present: bool,
    /// Since when a tripped group has held it; `None` if none does.
    pub(super) held_since: Option<Moment>,
    /// It is not held any more, and does not count towards another trip until it has returned.
    pub(super) released: bool,
}

/// A tripped group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trip {
    /// Since when.
    pub(super) since: Moment,
    /// The members are few again, and some may still return.
    pub(super) returning: Option<Returning>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Returning {
    since: Moment,
    last: Moment,
}

/// How a member leaves its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// It is not affected any more.
    Returned,
    /// There is nothing left of it to hold.
    Vanished,
    /// It is confirmed to be gone: nothing of it is suspicious.
    Gone,
}

impl<U> Default for Group<U> {
    fn default() -> Self {
        Self { members: BTreeMap::new(), trip: None, returned: BTreeMap::new(), of: 0 }
    }
}

impl<U: Ord + Clone> Group<U> {
    /// A member is affected since `since`.
    pub(super) fn join(&mut self, unit: &U, since: Moment) {
        let member = Member { since, present: true, held_since: None, released: false };
        self.members.entry(unit.clone()).or_insert(member).present = true;
    }

    /// A member is not affected any more, or is no longer there.
    pub(super) fn leave(&mut self, unit: &U, how: Leave, now: Moment) {
        let Some(member) = self.members.get_mut(unit) else { return };
        if how == Leave::Vanished && member.released && self.trip.is_some() {
            member.present = false;
            return;
        }
        let was_held = self.holds(unit);
        self.members.remove(unit);
        let Some(trip) = self.trip.as_mut().filter(|_| how == Leave::Returned) else { return };
        if let Some(returning) = &mut trip.returning {
            returning.last = now;
        }
        if was_held {
            self.returned.insert(unit.clone(), now);
        }
    }

    /// Trips or releases the group by what is true at `now`. Returns whether members were released.
    pub(super) fn settle(&mut self, limit: Limit, now: Moment) -> bool {
        let of = self.of + self.members.values().filter(|member| !member.present).count();
        match &mut self.trip {
            None => {
                let together = |member: &&Member| !member.released && now.since(member.since) < TOGETHER;
                if limit.is_exceeded(self.members.values().filter(together).count(), of) {
                    self.trip = Some(Trip { since: now, returning: None });
                }
            }
            Some(trip) if limit.is_exceeded(self.members.len(), of) => trip.returning = None,
            Some(trip) => {
                let Returning { since, last } = *trip.returning.get_or_insert(Returning { since: now, last: now });
                if now >= last + RETURNED_AFTER || now >= since + RELEASED_AT_LATEST_AFTER {
                    return self.reset();
                }
            }
        }
        if self.trip.is_none() {
            return false;
        }
        for member in self.members.values_mut().filter(|member| member.present) {
            member.held_since.get_or_insert(now);
        }
        let before = self.returned.len();
        self.returned.retain(|_, at| now < *at + RETURNED_AFTER);
        let released = self.returned.len() < before;
        // Everything that could be held is released.
        let is_empty = self.returned.is_empty() && !self.held().any(|_| true);
        (is_empty && self.reset()) || released
    }

    /// The group is not tripped any more. What is still affected counts as it does without a trip.
    fn reset(&mut self) -> bool {
        self.trip = None;
        self.returned.clear();
        self.members.retain(|_, member| member.present);
        self.members.values_mut().for_each(|member| member.held_since = None);
        true
    }

    /// The members that are held, with since when.
    pub(super) fn held(&self) -> impl Iterator<Item = (&U, Moment)> {
        let held = |(unit, member): (_, &Member)| Some((unit, member.held_since?, member.present && !member.released));
        let tripped = self.trip.is_some();
        self.members
            .iter()
            .filter_map(held)
            .filter(move |(_, _, is)| tripped && *is)
            .map(|(unit, since, _)| (unit, since))
    }

    /// Whether a loss of this member is held.
    pub(super) fn holds(&self, unit: &U) -> bool {
        let is_member = || self.members.get(unit).is_some_and(|member| member.present && !member.released);
        self.trip.is_some() && (is_member() || self.returned.contains_key(unit))
    }

    /// A member is not held any more, until it has returned and is affected again.
    pub(super) fn release(&mut self, unit: &U) {
        self.returned.remove(unit);
        if let Some(member) = self.members.get_mut(unit) {
            member.released = true;
        }
    }

    /// Whether it is tripped, and since when.
    pub(super) fn trip(&self) -> Option<Trip> {
        self.trip
    }

    /// The affected members.
    pub(super) fn members(&self) -> &BTreeMap<U, Member> {
        &self.members
    }

    /// How many members count as affected, and of how many.
    pub(super) fn counts(&self) -> (usize, usize) {
        let gone = self.members.values().filter(|member| !member.present).count();
        (self.members.len(), self.of + gone)
    }

    /// What has returned and is still held.
    pub(super) fn returned(&self) -> impl Iterator<Item = &U> {
        self.returned.keys()
    }

    /// Whether this member was released and has not returned since.
    pub(super) fn is_released(&self, unit: &U) -> bool {
        self.members.get(unit).is_some_and(|member| member.released)
    }

    /// Whether nothing is known of it.
    pub(super) fn is_empty(&self) -> bool {
        self.of == 0 && self.members.is_empty() && self.trip.is_none()
    }
}

#[cfg(test)]
mod tests;
