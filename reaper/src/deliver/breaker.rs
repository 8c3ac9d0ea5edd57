//! The breaker of one sink: while a sink is down, only a probe is attempted now and then.
//!
//! - *Closed*: attempts run, up to the concurrency of the sink. Five faults of the sink in a row open the breaker. Any answer of
//!   the receiver ends the run, even one that rejects the message, because a receiver that answers is up.
//! - *Open*: one probe at a time, and only once all earlier attempts have ended. The pause before the next one is 1 s at first, doubles
//!   with every probe that fails up to 1 min, and is not shorter than the `Retry-After` of the receiver.
//! - An answer closes the breaker. Concurrency then starts at one and doubles with every answer, so that a receiver that has just
//!   started is not flooded.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::schedule::{between_half_and_full, bounded};

/// How many faults of the sink in a row open the breaker.
const FAULTS: u32 = 5;
/// The pause before the first probe.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two probes, unless the receiver asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Decides how many attempts of a sink may run.
#[derive(Clone, Debug)]
pub struct Breaker {
    /// The most attempts at a time.
    concurrency: usize,
    state: State,
}

/// The state of a breaker, for the status page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// The sink works, as far as is known.
    Closed,
    /// The sink is down.
    Open {
        /// When the breaker opened.
        since: Timestamp,
        /// When the next probe may start.
        next_probe: Instant,
    },
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        /// Faults of the sink since its last answer.
        faults: u32,
        /// How many attempts may run now.
        limit: usize,
    },
    Open {
        since: Timestamp,
        next_probe: Instant,
        /// The pause after the next probe that fails, without jitter.
        pause: Duration,
        /// Whether the attempt in flight is a probe, and not one from before the breaker opened.
        probing: bool,
    },
}

impl Breaker {
    /// A closed breaker that admits `concurrency` attempts at a time, at least one.
    pub fn new(concurrency: usize) -> Self {
        let concurrency = concurrency.max(1);
        Self { concurrency, state: State::Closed { faults: 0, limit: concurrency } }
    }

    /// The state, for the status page.
    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { since, next_probe, .. } => BreakerState::Open { since, next_probe },
        }
    }

    /// Since when the breaker is open.
    pub fn open_since(&self) -> Option<Timestamp> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { since, .. } => Some(since),
        }
    }

    /// From when on, `now` or later, one more attempt may start beside `in_flight` others; `None` if one of those has to end first.
    pub fn admits_from(&self, in_flight: usize, now: Instant) -> Option<Instant> {
        match self.state {
            State::Closed { limit, .. } => (in_flight < limit).then_some(now),
            State::Open { next_probe, .. } => (in_flight == 0).then_some(next_probe.max(now)),
        }
    }

    /// An attempt starts.
    pub fn started(&mut self) {
        if let State::Open { probing, .. } = &mut self.state {
            *probing = true;
        }
    }

    /// An attempt ended with an answer of the receiver, whatever the answer was.
    pub fn answered(&mut self) {
        let limit = match self.state {
            State::Closed { limit, .. } => limit.saturating_mul(2).min(self.concurrency),
            State::Open { .. } => 1,
        };
        self.state = State::Closed { faults: 0, limit };
    }

    /// An attempt ended without anything sent, so nothing is known of the sink.
    pub fn unsent(&mut self) {
        if let State::Open { probing, .. } = &mut self.state {
            *probing = false;
        }
    }

    /// An attempt failed by a fault of the sink. `wall` is the time by the wall clock, `jitter` a random number in 0..1.
    pub fn failed(&mut self, retry_after: Option<Duration>, now: Instant, wall: Timestamp, jitter: f64) {
        let wait = |pause| between_half_and_full(pause, jitter).max(bounded(retry_after));
        match &mut self.state {
            State::Closed { faults, .. } => {
                *faults += 1;
                if *faults >= FAULTS {
                    let next_probe = now + wait(FIRST_PAUSE);
                    self.state = State::Open { since: wall, next_probe, pause: FIRST_PAUSE * 2, probing: false };
                }
            }
            State::Open { next_probe, pause, probing: probing @ true, .. } => {
                *probing = false;
                *next_probe = now + wait(*pause);
                *pause = (*pause * 2).min(LONGEST_PAUSE);
            }
            // The attempt started before the breaker opened: it says nothing new, except how long the receiver wants to be left alone.
            State::Open { next_probe, .. } => {
                if retry_after.is_some() {
                    *next_probe = (*next_probe).max(now + bounded(retry_after));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
