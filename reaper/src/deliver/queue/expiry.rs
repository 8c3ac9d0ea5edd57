//! Which outcomes of a sink expire next.
//!
//! An outcome that was attempted expires when it is as old as the sink's `giveUpAfter`. One that was not attempted expires only while
//! the sink's breaker is open, because the probes count as attempts of all:
//!
//! - at the same age, if the breaker is open since before;
//! - otherwise when the breaker has been open for `giveUpAfter`. A backlog that is older than that, of a sink that fails only now, is not
//!   lost to a few faults.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};
use jobwarden_core::outcome::OutcomeName;

use super::position::Position;
use crate::deliver::schedule::deadline;

/// The outcomes that are not in flight, by age.
#[derive(Clone, Debug)]
pub(super) struct Expiry {
    give_up_after: Duration,
    attempted: BTreeSet<Position>,
    untried: BTreeSet<Position>,
    /// Sorts before all names.
    least: OutcomeName,
}

impl Expiry {
    pub(super) fn new(give_up_after: Duration) -> Self {
        let least = OutcomeName::from_object("");
        Self { give_up_after, attempted: BTreeSet::new(), untried: BTreeSet::new(), least }
    }

    pub(super) fn insert(&mut self, position: Position, attempts: u32) {
        self.of(attempts).insert(position);
    }

    pub(super) fn remove(&mut self, position: &Position, attempts: u32) {
        self.of(attempts).remove(position);
    }

    /// Whether an outcome that was attempted has expired at `now`.
    pub(super) fn is_over(&self, created_at: Timestamp, now: Timestamp) -> bool {
        now >= deadline(created_at, self.give_up_after)
    }

    /// The oldest outcome.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.attempted.first().into_iter().chain(self.untried.first()).map(|position| position.created_at).min()
    }

    /// The outcome that expires next, and when, if the breaker is open since `open_since` and stays as it is.
    pub(super) fn next(&self, open_since: Option<Timestamp>) -> Option<(Timestamp, &Position)> {
        let by_age = |position: &Position| deadline(position.created_at, self.give_up_after);
        let attempted = self.attempted.first().map(|position| (by_age(position), position));
        let untried = open_since.into_iter().flat_map(|since| {
            // Of this age when the breaker opened.
            let created_at = before(since, self.give_up_after);
            let aged_while_open = self.untried.range(Position { created_at, name: self.least.clone() }..).next();
            let older = self.untried.first().filter(|position| position.created_at < created_at);
            let aged_while_open = aged_while_open.map(|position| (by_age(position), position));
            let older = older.map(|position| (deadline(since, self.give_up_after), position));
            aged_while_open.into_iter().chain(older)
        });
        attempted.into_iter().chain(untried).min()
    }

    fn of(&mut self, attempts: u32) -> &mut BTreeSet<Position> {
        if attempts == 0 { &mut self.untried } else { &mut self.attempted }
    }
}

fn before(time: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    // Fails only for spans of calendar units.
    time.saturating_sub(duration).unwrap_or(Timestamp::MIN)
}
