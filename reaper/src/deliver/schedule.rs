//! The retry schedule of notifications: when a delivery is attempted again, and how long it is retried.
//!
//! [`next_attempt`] is the only place that decides this. It is a pure function of the outcome's age, the attempts so far and
//! the sink's `giveUpAfter` (default 24 h, see [`SinkConfig`](super::SinkConfig)):
//!
//! - The first attempt is immediate.
//! - After a failed attempt the pause is random between 1 s and 2^attempts s, at most 10 s while the outcome is younger than
//!   5 min, then at most 1 min.
//! - Once the outcome is as old as `giveUpAfter`, the delivery expires, but never before its first attempt.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::outbox::SinkStatus;

/// The shortest pause between two attempts.
const BASE: Duration = Duration::from_secs(1);
/// The longest pause while the outcome is [`YOUNG`], so that a restarted receiver gets the notification soon.
const YOUNG_CAP: Duration = Duration::from_secs(10);
/// The longest pause after that.
const CAP: Duration = Duration::from_mins(1);
/// The age up to which an outcome is young.
const YOUNG: Duration = Duration::from_mins(5);

/// What to do about a delivery that is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Attempt the delivery at this time.
    At(Timestamp),
    /// The delivery has expired.
    Expire,
}

/// When to attempt the delivery of an outcome created at `created` next: exponential backoff with full jitter until the outcome
/// is `expire_after` old, with at least one attempt. `jitter` is a random number in 0..1.
pub fn next_attempt(
    created: Timestamp,
    sink: &SinkStatus,
    expire_after: Duration,
    now: Timestamp,
    jitter: f64,
) -> Next {
    let Some(last) = sink.last_attempt_at.filter(|_| sink.attempts > 0) else { return Next::At(now) };
    let age = Duration::try_from(now.duration_since(created)).unwrap_or_default();
    if age >= expire_after {
        return Next::Expire;
    }
    let cap = if age < YOUNG { YOUNG_CAP } else { CAP };
    let ceiling = BASE.saturating_mul(2_u32.saturating_pow(sink.attempts)).min(cap);
    let pause = BASE + (ceiling.saturating_sub(BASE)).mul_f64(jitter.clamp(0.0, 1.0));
    // Another leader with another clock may have made the last attempt. The pause never exceeds its maximum nevertheless.
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
    #[case::the_first_attempt_is_immediate(SinkStatus::untried("s"), 0, 1.0, Next::At(at(0)))]
    #[case::the_first_attempt_is_immediate_even_for_an_old_outcome(
        SinkStatus::untried("s"),
        100_000,
        1.0,
        Next::At(at(100_000))
    )]
    #[case::at_least_a_second_later(tried(1, 10), 10, 0.0, Next::At(at(11)))]
    #[case::the_pause_doubles(tried(2, 10), 10, 1.0, Next::At(at(14)))]
    #[case::a_young_outcome_waits_ten_seconds_at_most(tried(30, 100), 100, 1.0, Next::At(at(110)))]
    #[case::an_older_outcome_waits_a_minute_at_most(tried(30, 400), 400, 1.0, Next::At(at(460)))]
    #[case::an_overdue_attempt_is_immediate(tried(30, 100), 200, 1.0, Next::At(at(200)))]
    #[case::a_last_attempt_in_the_future_does_not_delay_the_next(tried(1, 9_000), 10, 1.0, Next::At(at(12)))]
    #[case::the_delivery_expires(tried(1500, 86_399), 86_400, 0.5, Next::Expire)]
    fn attempts_back_off_until_the_delivery_expires(
        #[case] sink: SinkStatus,
        #[case] now: i64,
        #[case] jitter: f64,
        #[case] next: Next,
    ) {
        assert_eq!(next_attempt(at(0), &sink, DAY, at(now), jitter), next);
    }

    proptest! {
        #[test]
        fn no_pause_exceeds_a_minute(attempts in 0_u32.., last in 0_i64..200_000, now in 0_i64..86_000, jitter in 0.0..1.0) {
            match next_attempt(at(0), &tried(attempts, last), DAY, at(now), jitter) {
                Next::At(next) => prop_assert!(next >= at(now) && next <= at(now + 60)),
                Next::Expire => prop_assert!(false, "the day is not over"),
            }
        }
    }
}
