//! The queue of one sink: which outcome is attempted next and when, and which one expires. No I/O; the time is passed in.
//!
//! ```text
//!            track                    start                  finished
//! outbox ───────────► due ─────────────────────► in flight ───────────► settled or dead
//!                      ▲                             │
//!                      └────── after a pause ────────┘
//! ```
//!
//! Of the namespace with the fewest attempts in flight the oldest due outcome goes first, so that no namespace waits for the backlog or
//! the timeouts of another. While the sink's [`Breaker`] is open, only the oldest due outcome is attempted, as a probe.
//!
//! Each change costs O(log n) for n outcomes: nothing walks over all of them.
//!
//! Two clocks are passed in: the monotonic `now`, by which attempts are started, and the wall clock `wall`, by which outcomes age.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use jobwarden_core::outcome::OutcomeName;
use tokio::time::Instant;

use self::{due::Due, expiry::Expiry, position::Position};
use super::{
    breaker::{Breaker, BreakerState},
    message::Fault,
    schedule::{age, pause},
};

mod due;
mod expiry;
mod position;

/// The attempts of a sink that run at a time, unless it is configured otherwise.
pub const CONCURRENCY: usize = 8;

/// The pending deliveries of one sink.
#[derive(Clone, Debug)]
pub struct Queue {
    items: HashMap<OutcomeName, Item>,
    /// What waits for its next attempt, and until when.
    waiting: BTreeSet<(Instant, OutcomeName)>,
    due: Due,
    /// What is attempted now, with its namespace, whether it is still tracked or not.
    in_flight: HashMap<OutcomeName, Arc<str>>,
    expiry: Expiry,
    breaker: Breaker,
    clocks: Clocks,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempted {
    /// The receiver acknowledged or refused the message, or gave another answer that ends the delivery.
    Done,
    /// Nothing was sent, and nothing will be: the format has no message for the outcome.
    Unsent,
    /// The attempt failed and may be repeated.
    Failed {
        /// What the failure says about the sink. A refusal ends the delivery as [`Attempted::Done`] does.
        fault: Fault,
        /// How long the receiver wants to be left alone.
        retry_after: Option<Duration>,
    },
}

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The queue attempts the delivery again at this time, or when there is a slot after that.
    Retry(Instant),
    /// The delivery has expired, and the queue has dropped it.
    Dead,
    /// The delivery has ended, or is not tracked any more.
    Settled,
}

#[derive(Clone, Debug)]
struct Item {
    namespace: Arc<str>,
    created_at: Timestamp,
    /// Failed attempts, those that were recorded before among them.
    attempts: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Waiting(Instant),
    Due,
    InFlight,
}

/// The same moment on both clocks, the last that was passed in.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    now: Instant,
    wall: Timestamp,
}

impl Queue {
    /// An empty queue of a sink that makes `concurrency` attempts at a time and retries until an outcome is
    /// `give_up_after` old.
    pub fn new(concurrency: usize, give_up_after: Duration, now: Instant, wall: Timestamp) -> Self {
        Self {
            items: HashMap::new(),
            waiting: BTreeSet::new(),
            due: Due::new(share(concurrency)),
            in_flight: HashMap::new(),
            expiry: Expiry::new(give_up_after),
            breaker: Breaker::new(concurrency),
            clocks: Clocks { now, wall },
        }
    }

    /// Adds a pending delivery with the number of its recorded attempts. It is due at once. Does nothing if it is tracked already.
    pub fn track(
        &mut self,
        name: OutcomeName,
        namespace: impl Into<Arc<str>>,
        created_at: Timestamp,
        attempts: u32,
        now: Instant,
        wall: Timestamp,
    ) {
        self.clocks = Clocks { now, wall };
        if self.items.contains_key(&name) {
            return;
        }
        // It may have been forgotten while it was attempted: then that attempt counts.
        let stage = if self.in_flight.contains_key(&name) { Stage::InFlight } else { Stage::Due };
        self.insert(name, Item { namespace: namespace.into(), created_at, attempts, stage });
    }

    /// Removes a delivery that has ended or whose outcome was deleted. An attempt in flight occupies its slot until it is
    /// [`finished`](Self::finished).
    pub fn forget(&mut self, name: &OutcomeName) {
        self.remove(name);
    }

    /// The deliveries whose attempts start now, in this order. Each must be reported as [`finished`](Self::finished).
    pub fn start(&mut self, now: Instant) -> Vec<OutcomeName> {
        self.promote(now);
        let mut started = Vec::new();
        while self.breaker.admits_from(self.in_flight.len(), now).is_some_and(|from| from <= now) {
            let Some((namespace, position)) = self.due.start() else { break };
            self.breaker.started();
            if let Some(item) = self.items.get_mut(&position.name) {
                item.stage = Stage::InFlight;
                self.expiry.remove(&position, item.attempts);
            }
            started.push(position.name.clone());
            self.in_flight.insert(position.name, namespace);
        }
        started
    }

    /// Notes the result of an attempt that was started. `jitter` is a random number in 0..1.
    pub fn finished(
        &mut self,
        name: &OutcomeName,
        result: Attempted,
        now: Instant,
        wall: Timestamp,
        jitter: f64,
    ) -> Next {
        self.clocks = Clocks { now, wall };
        let Some(namespace) = self.in_flight.remove(name) else { return Next::Settled };
        self.due.ended(&namespace);
        match result {
            Attempted::Unsent => self.breaker.unsent(),
            Attempted::Failed { fault: Fault::Sink, retry_after } => {
                self.breaker.failed(retry_after, now, wall, jitter);
            }
            Attempted::Done | Attempted::Failed { fault: Fault::Message | Fault::Refusal, .. } => {
                self.breaker.answered();
            }
        }
        let Some((name, mut item)) = self.remove(name) else { return Next::Settled };
        let Attempted::Failed { fault: Fault::Sink | Fault::Message, retry_after } = result else {
            return Next::Settled;
        };
        if self.expiry.is_over(item.created_at, wall) {
            return Next::Dead;
        }
        item.attempts = item.attempts.saturating_add(1);
        let at = now + pause(item.attempts, age(item.created_at, wall), retry_after, jitter);
        item.stage = Stage::Waiting(at);
        self.insert(name, item);
        Next::Retry(at)
    }

    /// Removes and returns the deliveries that have expired, at most `limit`. Those in flight are left to
    /// [`finished`](Self::finished).
    pub fn expired(&mut self, now: Instant, wall: Timestamp, limit: usize) -> Vec<OutcomeName> {
        self.clocks = Clocks { now, wall };
        let mut expired = Vec::new();
        while expired.len() < limit {
            let Some((deadline, position)) = self.expiry.next(self.breaker.open_since()) else { break };
            if deadline > wall {
                break;
            }
            let name = position.name.clone();
            self.remove(&name);
            expired.push(name);
        }
        expired
    }

    /// When [`start`](Self::start) or [`expired`](Self::expired) may have something to return, unless an attempt ends before; `None` if
    /// nothing happens before that. It is in the future after both were called and returned all there was.
    pub fn wake_at(&self) -> Option<Instant> {
        let expiry = self.expiry.next(self.breaker.open_since()).map(|(deadline, _)| self.clocks.instant(deadline));
        self.next_start().into_iter().chain(expiry).min()
    }

    /// When the next attempt may start, unless another one ends before; `None` if nothing is due until one of those in flight ends.
    pub fn next_start(&self) -> Option<Instant> {
        let from = self.breaker.admits_from(self.in_flight.len(), self.clocks.now)?;
        if self.due.can_start() {
            return Some(from);
        }
        self.waiting.first().map(|(at, _)| from.max(*at))
    }

    /// The number of pending deliveries, those in flight among them.
    pub fn pending(&self) -> usize {
        self.items.len()
    }

    /// The number of attempts in flight, those of forgotten deliveries among them.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// When the oldest outcome with a pending delivery was created.
    pub fn oldest(&self) -> Option<Timestamp> {
        let in_flight = self.in_flight.keys().filter_map(|name| Some(self.items.get(name)?.created_at));
        in_flight.chain(self.expiry.oldest()).min()
    }

    /// The state of the sink's breaker.
    pub fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    /// What has waited long enough becomes due.
    fn promote(&mut self, now: Instant) {
        while self.waiting.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, name)) = self.waiting.pop_first() else { return };
            if let Some(item) = self.items.get_mut(&name) {
                item.stage = Stage::Due;
                let position = Position { created_at: item.created_at, name };
                self.due.insert(&item.namespace, position);
            }
        }
    }

    /// Adds an item and what its stage needs.
    fn insert(&mut self, name: OutcomeName, item: Item) {
        let position = Position { created_at: item.created_at, name: name.clone() };
        match item.stage {
            Stage::Waiting(at) => {
                self.waiting.insert((at, name.clone()));
                self.expiry.insert(position, item.attempts);
            }
            Stage::Due => {
                self.due.insert(&item.namespace, position.clone());
                self.expiry.insert(position, item.attempts);
            }
            Stage::InFlight => {}
        }
        self.items.insert(name, item);
    }

    /// Removes an item and what its stage needed.
    fn remove(&mut self, name: &OutcomeName) -> Option<(OutcomeName, Item)> {
        let (name, item) = self.items.remove_entry(name)?;
        let position = Position { created_at: item.created_at, name };
        match item.stage {
            Stage::Waiting(at) => {
                self.waiting.remove(&(at, position.name.clone()));
                self.expiry.remove(&position, item.attempts);
            }
            Stage::Due => {
                self.due.remove(&item.namespace, &position);
                self.expiry.remove(&position, item.attempts);
            }
            Stage::InFlight => {}
        }
        Some((position.name, item))
    }
}

impl Clocks {
    /// The wall clock's `at` on the monotonic clock; the last known moment if it has passed.
    fn instant(self, at: Timestamp) -> Instant {
        self.now + Duration::try_from(at.duration_since(self.wall)).unwrap_or_default()
    }
}

/// The attempts of one namespace that run at a time: a quarter of the slots is free for the others.
fn share(concurrency: usize) -> usize {
    (concurrency - concurrency.div_ceil(4)).max(1)
}

#[cfg(test)]
mod tests;
