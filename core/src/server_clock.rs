//! The clock of the API server, by which the times in objects are read.
//!
//! The clock of the reaper's own machine is not used for that: it may be minutes away from the one that wrote a time. Every answer of
//! the API server carries its time (`Date`, in whole seconds), and the monotonic clock of the reaper carries it on from there.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// The precision of the header `Date`.
const SECOND: Duration = Duration::from_secs(1);

/// The clock of the API server, as far as its answers tell.
///
/// An answer that was received at `received` and says `date` shows that the clock has reached `date` by then, and one to a request that
/// was sent at `sent` that it was not a second further. Of many answers the first kind gives the latest time that is certain: what the clock
/// shows is never ahead of the API server's, and behind it by less than a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerClock {
    /// The API server's clock has reached this time at this moment.
    reached: Option<(Timestamp, Instant)>,
}

impl ServerClock {
    /// The API server has answered.
    pub fn answered(&mut self, date: Timestamp, sent: Instant, received: Instant) {
        let Some(now) = self.now(received) else {
            self.reached = Some((date, received));
            return;
        };
        let took = received.saturating_duration_since(sent);
        let latest = plus(date, SECOND + took);
        // It was set back, or another API server answers whose clock is behind.
        let set_back = now > latest;
        if set_back || date > now {
            self.reached = Some((date, received));
        }
    }

    /// What the clock of the API server shows at `at`; `None` before its first answer.
    pub fn now(&self, at: Instant) -> Option<Timestamp> {
        let (date, received) = self.reached?;
        Some(match at.checked_duration_since(received) {
            Some(since) => plus(date, since),
            None => date.checked_sub(signed(received.duration_since(at))).unwrap_or(Timestamp::UNIX_EPOCH),
        })
    }
}

fn plus(at: Timestamp, after: Duration) -> Timestamp {
    at.checked_add(signed(after)).unwrap_or(Timestamp::MAX)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn date(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).expect("in range")
    }

    #[test]
    fn before_the_first_answer_nothing_is_known() {
        assert_eq!(ServerClock::default().now(Instant::now()), None);
    }

    #[test]
    fn the_time_goes_on_between_answers() {
        let start = Instant::now();
        let mut clock = ServerClock::default();
        clock.answered(date(5_000), start, start + ms(10));
        assert_eq!(clock.now(start + ms(2_010)), Some(date(7_000)));
        assert_eq!(clock.now(start), Some(date(4_990)));
    }

    #[test]
    fn a_later_answer_may_show_more() {
        let start = Instant::now();
        let mut clock = ServerClock::default();
        // At 5.9 s of the API server.
        clock.answered(date(5_000), start, start);
        clock.answered(date(6_000), start + ms(100), start + ms(100));
        assert_eq!(clock.now(start + ms(100)), Some(date(6_000)));
        // Which an answer of the same second cannot contradict.
        clock.answered(date(6_000), start + ms(1_000), start + ms(1_000));
        assert_eq!(clock.now(start + ms(1_000)), Some(date(6_900)));
    }

    #[test]
    fn a_slow_answer_contradicts_nothing() {
        let start = Instant::now();
        let mut clock = ServerClock::default();
        clock.answered(date(5_000), start, start);
        clock.answered(date(6_000), start + ms(1_000), start + ms(31_000));
        assert_eq!(clock.now(start + ms(31_000)), Some(date(36_000)));
    }

    #[test]
    fn a_clock_that_was_set_is_followed() {
        let start = Instant::now();
        let mut clock = ServerClock::default();
        clock.answered(date(500_000), start, start);
        clock.answered(date(20_000), start + ms(1_000), start + ms(1_000));
        assert_eq!(clock.now(start + ms(1_000)), Some(date(20_000)));
        clock.answered(date(900_000), start + ms(2_000), start + ms(2_000));
        assert_eq!(clock.now(start + ms(2_000)), Some(date(900_000)));
    }

    proptest! {
        /// Never ahead of the API server, and behind by less than a second and the answer's way back.
        #[test]
        fn the_clock_is_exact_to_a_second(
            ahead in -400_000_i64..400_000,
            answers in prop::collection::vec((0_u64..5_000, 0_u64..400, 0_u64..400), 1..40),
        ) {
            let start = Instant::now();
            let mut clock = ServerClock::default();
            let server = |at: u64| 1_000_000 + ahead + i64::try_from(at).expect("in range");
            let (mut at, mut slowest) = (0, 0);
            for (pause, there, back) in answers {
                at += pause;
                let sent = at;
                let written = server(at + there) / 1_000 * 1_000;
                at += there + back;
                slowest = slowest.max(back);
                clock.answered(date(written), start + ms(sent), start + ms(at));
                let shown = clock.now(start + ms(at)).expect("it has answered").as_millisecond();
                prop_assert!(shown <= server(at), "{shown} is ahead of {}", server(at));
                prop_assert!(server(at) - shown < 1_000 + i64::try_from(slowest).expect("in range"));
            }
        }
    }
}
