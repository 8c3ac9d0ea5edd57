//! The pausing clock: monotonic time without the time in which a watch was down.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use crate::moment::Moment;

/// Outages that are remembered for [`PausingClock::wall`]; without older ones, wall times of old moments are less exact.
const MAX_OUTAGES: usize = 64;

/// Counts the time in which signals could arrive.
///
/// During an outage the clock is paused, set back to the last moment at which signals arrived for certain: a beat that could not
/// have been received is not a missing beat, so every deadline is extended by exactly the outage. A signal that is received before
/// an outage is noticed may therefore carry a moment that is a little later than what the clock then shows, which only makes the
/// signal look fresh for longer.
#[derive(Clone, Debug)]
pub struct PausingClock {
    start: Instant,
    /// The end of the last outage: a further one cannot reach back beyond it.
    resumed: Instant,
    paused_since: Option<Instant>,
    paused_for: Duration,
    outages: VecDeque<Outage>,
}

/// An outage that is over.
#[derive(Clone, Copy, Debug)]
struct Outage {
    /// What the clock showed meanwhile.
    at: Moment,
    lasted: Duration,
}

impl PausingClock {
    /// A clock that starts at `start`, running.
    pub fn new(start: Instant) -> Self {
        Self { start, resumed: start, paused_since: None, paused_for: Duration::ZERO, outages: VecDeque::new() }
    }

    /// What the clock shows at `at`.
    pub fn now(&self, at: Instant) -> Moment {
        let until = self.paused_since.unwrap_or(at);
        Moment::at(until.saturating_duration_since(self.start).saturating_sub(self.paused_for))
    }

    /// Pauses the clock as of `since`: signals have not arrived since then. Of several calls, the earliest time counts.
    pub fn pause(&mut self, since: Instant) {
        let since = since.max(self.resumed);
        self.paused_since = Some(self.paused_since.map_or(since, |earlier| earlier.min(since)));
    }

    /// Signals arrive again from `at` on.
    pub fn resume(&mut self, at: Instant) {
        let Some(since) = self.paused_since else { return };
        let (shown, lasted) = (self.now(at), at.saturating_duration_since(since));
        self.paused_since = None;
        self.paused_for += lasted;
        self.resumed = at;
        if self.outages.len() == MAX_OUTAGES {
            self.outages.pop_front();
        }
        self.outages.push_back(Outage { at: shown, lasted });
    }

    /// The time of the wall clock at `moment`, given what the wall clock shows at `at`. For people only: nothing is decided by it.
    pub fn wall(&self, moment: Moment, at: Instant, wall_at: Timestamp) -> Timestamp {
        let running = self.now(at).since(moment);
        let paused_now = self.paused_since.map_or(Duration::ZERO, |since| at.saturating_duration_since(since));
        let paused_since_then: Duration =
            self.outages.iter().rev().take_while(|outage| outage.at >= moment).map(|outage| outage.lasted).sum();
        let ago = SignedDuration::try_from(running + paused_now + paused_since_then).unwrap_or(SignedDuration::MAX);
        wall_at.checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn moment(at: u64) -> Moment {
        Moment::at(seconds(at))
    }

    #[test]
    fn the_clock_runs_while_signals_arrive() {
        let start = Instant::now();
        assert_eq!(PausingClock::new(start).now(start + seconds(7)), moment(7));
    }

    #[test]
    fn a_paused_clock_shows_the_last_moment_of_reception() {
        let start = Instant::now();
        let mut clock = PausingClock::new(start);
        clock.pause(start + seconds(10));
        assert_eq!(clock.now(start + seconds(25)), moment(10));
        assert_eq!(clock.now(start + seconds(99)), moment(10));
    }

    #[test]
    fn the_clock_resumes_from_there_so_that_deadlines_are_extended_by_the_outage() {
        let start = Instant::now();
        let mut clock = PausingClock::new(start);
        clock.pause(start + seconds(10));
        clock.resume(start + seconds(70));
        assert_eq!(clock.now(start + seconds(75)), moment(15));
    }

    #[test]
    fn of_several_outages_the_earliest_start_counts() {
        let start = Instant::now();
        let mut clock = PausingClock::new(start);
        clock.pause(start + seconds(20));
        clock.pause(start + seconds(10));
        clock.pause(start + seconds(30));
        assert_eq!(clock.now(start + seconds(40)), moment(10));
    }

    #[test]
    fn an_outage_does_not_reach_back_into_the_one_before_it() {
        let start = Instant::now();
        let mut clock = PausingClock::new(start);
        clock.pause(start + seconds(10));
        clock.resume(start + seconds(20));
        clock.pause(start + seconds(15));
        assert_eq!(clock.now(start + seconds(30)), moment(10));
    }

    #[test]
    fn wall_times_count_the_outages_since() {
        let start = Instant::now();
        let mut clock = PausingClock::new(start);
        let wall_start = Timestamp::from_second(1_700_000_000).expect("in range");
        let wall = |seconds: u64| wall_start + Duration::from_secs(seconds);
        clock.pause(start + seconds(10));
        clock.resume(start + seconds(70));
        let (at, wall_at) = (start + seconds(80), wall(80));
        assert_eq!(clock.wall(moment(5), at, wall_at), wall(5));
        assert_eq!(clock.wall(moment(15), at, wall_at), wall(75));
        clock.pause(start + seconds(80));
        assert_eq!(clock.wall(moment(15), start + seconds(100), wall(100)), wall(75));
    }

    proptest! {
        /// However many outages there are, the clock shows exactly the time that passed outside them.
        #[test]
        fn the_clock_counts_the_time_outside_outages(spans in prop::collection::vec((0_u64..100, 0_u64..100), 0..100)) {
            let start = Instant::now();
            let mut clock = PausingClock::new(start);
            let (mut real, mut received) = (0, 0);
            for (receiving, outage) in spans {
                real += receiving;
                received += receiving;
                clock.pause(start + seconds(real));
                real += outage;
                prop_assert_eq!(clock.now(start + seconds(real)), moment(received));
                clock.resume(start + seconds(real));
                prop_assert_eq!(clock.now(start + seconds(real)), moment(received));
            }
        }
    }
}
