//! The listening clock: monotonic time less the time the reaper was deaf.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use crate::moment::Moment;

/// Outages remembered for [`PausingClock::wall`]; older ones only blur the wall times of old moments.
const MAX_OUTAGES: usize = 64;

/// Counts the time spent listening.
///
/// While the reaper is deaf the clock stands still, set back to when it last heard well: silence that it could not have
/// heard is nobody's silence, so every deadline is extended by exactly the outage. What is received before an outage is
/// noticed may therefore be stamped a little later than the clock then shows, which only makes it look fresh for longer.
#[derive(Clone, Debug)]
pub struct PausingClock {
    start: Instant,
    /// The end of the last outage: a further one cannot reach back beyond it.
    resumed: Instant,
    deaf_since: Option<Instant>,
    deaf_for: Duration,
    outages: VecDeque<Outage>,
}

/// One time of deafness that is over.
#[derive(Clone, Copy, Debug)]
struct Outage {
    /// Where the clock stood.
    at: Moment,
    lasted: Duration,
}

impl PausingClock {
    /// A clock that starts at `start`, hearing well.
    pub fn new(start: Instant) -> Self {
        Self { start, resumed: start, deaf_since: None, deaf_for: Duration::ZERO, outages: VecDeque::new() }
    }

    /// What the clock shows at `at`.
    pub fn now(&self, at: Instant) -> Moment {
        let until = self.deaf_since.unwrap_or(at);
        Moment::at(until.saturating_duration_since(self.start).saturating_sub(self.deaf_for))
    }

    /// Nothing has been heard since `since`, as it turns out; the earliest of several such words counts.
    pub fn pause(&mut self, since: Instant) {
        let since = since.max(self.resumed);
        self.deaf_since = Some(self.deaf_since.map_or(since, |earlier| earlier.min(since)));
    }

    /// Everything is heard again from `at` on.
    pub fn resume(&mut self, at: Instant) {
        let Some(since) = self.deaf_since else { return };
        let (stood_at, lasted) = (self.now(at), at.saturating_duration_since(since));
        self.deaf_since = None;
        self.deaf_for += lasted;
        self.resumed = at;
        if self.outages.len() == MAX_OUTAGES {
            self.outages.pop_front();
        }
        self.outages.push_back(Outage { at: stood_at, lasted });
    }

    /// The wall clock's time at `moment`, given what it shows at `at`. For people only: nothing is decided by it.
    pub fn wall(&self, moment: Moment, at: Instant, wall_at: Timestamp) -> Timestamp {
        let listened = self.now(at).since(moment);
        let deaf_now = self.deaf_since.map_or(Duration::ZERO, |since| at.saturating_duration_since(since));
        let deaf_since_then: Duration =
            self.outages.iter().rev().take_while(|outage| outage.at >= moment).map(|outage| outage.lasted).sum();
        let ago = SignedDuration::try_from(listened + deaf_now + deaf_since_then).unwrap_or(SignedDuration::MAX);
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
    fn it_runs_while_everything_is_heard() {
        let start = Instant::now();
        assert_eq!(PausingClock::new(start).now(start + seconds(7)), moment(7));
    }

    #[test]
    fn it_stands_where_it_last_heard_well_while_deaf() {
        let start = Instant::now();
        let mut clock = PausingClock::new(start);
        clock.pause(start + seconds(10));
        assert_eq!(clock.now(start + seconds(25)), moment(10));
        assert_eq!(clock.now(start + seconds(99)), moment(10));
    }

    #[test]
    fn it_goes_on_from_there_so_that_deadlines_are_extended_by_the_outage() {
        let start = Instant::now();
        let mut clock = PausingClock::new(start);
        clock.pause(start + seconds(10));
        clock.resume(start + seconds(70));
        assert_eq!(clock.now(start + seconds(75)), moment(15));
    }

    #[test]
    fn of_two_reasons_to_be_deaf_the_earlier_counts() {
        let start = Instant::now();
        let mut clock = PausingClock::new(start);
        clock.pause(start + seconds(20));
        clock.pause(start + seconds(10));
        clock.pause(start + seconds(30));
        assert_eq!(clock.now(start + seconds(40)), moment(10));
    }

    #[test]
    fn an_outage_does_not_reach_back_into_the_one_before() {
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
        /// However often it goes deaf, the clock shows exactly the time that passed outside outages.
        #[test]
        fn the_clock_counts_what_is_left_of_time_without_outages(spans in prop::collection::vec((0_u64..100, 0_u64..100), 0..100)) {
            let start = Instant::now();
            let mut clock = PausingClock::new(start);
            let (mut real, mut listened) = (0, 0);
            for (hearing, deaf) in spans {
                real += hearing;
                listened += hearing;
                clock.pause(start + seconds(real));
                real += deaf;
                prop_assert_eq!(clock.now(start + seconds(real)), moment(listened));
                clock.resume(start + seconds(real));
                prop_assert_eq!(clock.now(start + seconds(real)), moment(listened));
            }
        }
    }
}
