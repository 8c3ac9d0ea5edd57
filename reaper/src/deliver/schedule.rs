//! When an outcome is tried again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::outbox::SinkStatus;

/// The least time between two attempts.
const BASE: Duration = Duration::from_secs(1);
/// The most time between two attempts while the outcome is [`YOUNG`]: a receiver that was restarted is served soon.
const YOUNG_CAP: Duration = Duration::from_secs(10);
/// The most time between two attempts after that.
const CAP: Duration = Duration::from_mins(1);
/// How long an outcome is young.
const YOUNG: Duration = Duration::from_mins(5);

/// What is to be done about an outcome that a sink has not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try at this time.
    At(Timestamp),
    /// Give it up.
    GiveUp,
}

/// What is to be done with an outcome made at `created`: exponential backoff with full jitter, and an end after
/// `give_up_after`, though never without one attempt. `jitter` is a random number in 0..1.
pub fn next_attempt(
    created: Timestamp,
    sink: &SinkStatus,
    give_up_after: Duration,
    now: Timestamp,
    jitter: f64,
) -> Next {
    let Some(last) = sink.last_attempt_at.filter(|_| sink.attempts > 0) else { return Next::At(now) };
    let age = Duration::try_from(now.duration_since(created)).unwrap_or_default();
    if age >= give_up_after {
        return Next::GiveUp;
    }
    let cap = if age < YOUNG { YOUNG_CAP } else { CAP };
    let ceiling = BASE.saturating_mul(2_u32.saturating_pow(sink.attempts)).min(cap);
    let pause = BASE + (ceiling.saturating_sub(BASE)).mul_f64(jitter.clamp(0.0, 1.0));
    // The last attempt may be another process's, by another clock: nothing is ever put off for longer than a pause.
    let last = last.min(now);
    let at = last.saturating_add(SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX)).unwrap_or(now);
    Next::At(at.max(now))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn tried(attempts: u32, last: i64) -> SinkStatus {
        SinkStatus { attempts, last_attempt_at: Some(at(last)), ..SinkStatus::untried("s") }
    }

    const DAY: Duration = Duration::from_hours(24);

    #[rstest]
    #[case::the_first_attempt_is_at_once(SinkStatus::untried("s"), 0, 1.0, Next::At(at(0)))]
    #[case::even_of_an_old_outcome(SinkStatus::untried("s"), 100_000, 1.0, Next::At(at(100_000)))]
    #[case::at_least_a_second_later(tried(1, 10), 10, 0.0, Next::At(at(11)))]
    #[case::it_doubles(tried(2, 10), 10, 1.0, Next::At(at(14)))]
    #[case::a_young_outcome_waits_ten_seconds_at_most(tried(30, 100), 100, 1.0, Next::At(at(110)))]
    #[case::an_older_one_a_minute(tried(30, 400), 400, 1.0, Next::At(at(460)))]
    #[case::a_pause_that_is_over_is_over(tried(30, 100), 200, 1.0, Next::At(at(200)))]
    #[case::a_clock_ahead_puts_off_nothing(tried(1, 9_000), 10, 1.0, Next::At(at(12)))]
    #[case::in_the_end_it_is_given_up(tried(1500, 86_399), 86_400, 0.5, Next::GiveUp)]
    fn attempts_are_spaced_out(#[case] sink: SinkStatus, #[case] now: i64, #[case] jitter: f64, #[case] next: Next) {
        assert_eq!(next_attempt(at(0), &sink, DAY, at(now), jitter), next);
    }

    proptest! {
        #[test]
        fn nothing_waits_longer_than_a_minute(attempts in 0_u32.., last in 0_i64..200_000, now in 0_i64..86_000, jitter in 0.0..1.0) {
            match next_attempt(at(0), &tried(attempts, last), DAY, at(now), jitter) {
                Next::At(next) => prop_assert!(next >= at(now) && next <= at(now + 60)),
                Next::GiveUp => prop_assert!(false, "the day is not over"),
            }
        }
    }
}
