//! The retry schedule of notifications: when a delivery is attempted again, and how long it is retried.
//!
//! This is the only place that decides how long the pause between two attempts of one outcome is ([`pause`]) and when an outcome is
//! too old to be retried ([`deadline`]). Both are pure functions of the outcome's age, the attempts so far and the sink's
//! `giveUpAfter` (default 24 h, see [`SinkConfig`](super::SinkConfig)):
//!
//! - The first attempt is immediate.
//! - After `n` failed attempts the pause is random between the half and the full of 2^n s. It has a limit that depends on the age of
//!   the outcome: 10 s while it is younger than 5 min, then a tenth of its age, and 15 min at most. So a receiver that was down for an
//!   hour gets the notification a few minutes after it has restarted.
//! - The pause is not shorter than the receiver's `Retry-After`, of which 15 min are honoured.
//! - An outcome that is as old as `giveUpAfter` expires, but never before its first attempt. Probes of a sink that is down count as
//!   attempts of all its outcomes; that rule is applied in `deliver/queue/expiry.rs`.
//!
//! Which outcome is attempted next is decided in `deliver/queue.rs`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The shortest pause between two attempts of an outcome.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest pause while the outcome is [`YOUNG`], so that a restarted receiver gets the notification soon.
const YOUNG_CAP: Duration = Duration::from_secs(10);
/// The longest pause, and the longest `Retry-After` that is honoured.
const CAP: Duration = Duration::from_mins(15);
/// The age up to which an outcome is young.
const YOUNG: Duration = Duration::from_mins(5);
/// The longest pause of an outcome that is not young is its age divided by this.
const SHARE_OF_AGE: u32 = 10;

/// The pause after the last of `attempts` failed attempts of an outcome that is `age` old. `retry_after` is what the receiver asked for,
/// `jitter` a random number in 0..1.
pub(super) fn pause(attempts: u32, age: Duration, retry_after: Option<Duration>, jitter: f64) -> Duration {
    let cap = if age < YOUNG { YOUNG_CAP } else { (age / SHARE_OF_AGE).min(CAP) };
    let full = SHORTEST.saturating_mul(2_u32.saturating_pow(attempts)).min(cap);
    between_half_and_full(full, jitter).max(SHORTEST).max(bounded(retry_after))
}

/// When an outcome that was created at `created` is `give_up_after` old.
pub(super) fn deadline(created: Timestamp, give_up_after: Duration) -> Timestamp {
    // Fails only for spans of calendar units.
    created.saturating_add(signed(give_up_after)).unwrap_or(Timestamp::MAX)
}

/// The age at `now` of what was created at `created`; zero if a clock was set back in between.
pub(super) fn age(created: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(created)).unwrap_or_default()
}

/// A `Retry-After` as far as it is honoured.
pub(super) fn bounded(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or_default().min(CAP)
}

/// Half of `full` and a random part of the other half, so that what failed together is not retried together.
pub(super) fn between_half_and_full(full: Duration, jitter: f64) -> Duration {
    (full / 2) + (full / 2).mul_f64(jitter.clamp(0.0, 1.0))
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const HOUR: u64 = 3600;

    #[rstest]
    #[case::one_to_two_seconds_at_first(1, 0, None, 0.0, 1.0)]
    #[case::one_to_two_seconds_at_first(1, 0, None, 1.0, 2.0)]
    #[case::the_pause_doubles(2, 0, None, 1.0, 4.0)]
    #[case::the_pause_doubles(3, 0, None, 1.0, 8.0)]
    #[case::at_least_a_second(0, 0, None, 0.0, 1.0)]
    #[case::a_young_outcome_waits_ten_seconds_at_most(30, 299, None, 1.0, 10.0)]
    #[case::at_least_half_of_it(30, 299, None, 0.0, 5.0)]
    #[case::then_a_tenth_of_its_age(30, 300, None, 1.0, 30.0)]
    #[case::then_a_tenth_of_its_age(30, HOUR, None, 1.0, 360.0)]
    #[case::and_a_quarter_of_an_hour_at_most(u32::MAX, 20 * HOUR, None, 1.0, 900.0)]
    #[case::an_old_outcome_is_retried_soon_after_its_first_attempt(1, 20 * HOUR, None, 1.0, 2.0)]
    #[case::the_receiver_may_ask_for_more(1, 0, Some(120), 0.5, 120.0)]
    #[case::the_receiver_may_not_ask_for_less(30, HOUR, Some(1), 1.0, 360.0)]
    #[case::the_receiver_may_ask_for_a_quarter_of_an_hour_at_most(1, 0, Some(u64::MAX), 0.5, 900.0)]
    fn the_pause_between_attempts(
        #[case] attempts: u32,
        #[case] age: u64,
        #[case] retry_after: Option<u64>,
        #[case] jitter: f64,
        #[case] seconds: f64,
    ) {
        let pause = pause(attempts, Duration::from_secs(age), retry_after.map(Duration::from_secs), jitter);
        assert_eq!(pause, Duration::from_secs_f64(seconds));
    }

    #[test]
    fn an_outcome_from_the_future_is_as_young_as_can_be() {
        let at = |second: i64| Timestamp::from_second(second).expect("in range");
        assert_eq!(age(at(50), at(20)), Duration::ZERO);
        assert_eq!(deadline(at(50), Duration::MAX), Timestamp::MAX);
    }

    proptest! {
        #[test]
        fn no_pause_is_shorter_than_a_second_or_longer_than_a_quarter_of_an_hour(
            attempts in any::<u32>(),
            age in any::<Duration>(),
            retry_after in any::<Option<Duration>>(),
            jitter in 0.0..1.0,
        ) {
            let pause = pause(attempts, age, retry_after, jitter);
            prop_assert!((SHORTEST..=CAP).contains(&pause), "{pause:?}");
            prop_assert!(retry_after.is_none_or(|asked| pause >= asked.min(CAP)));
        }

        #[test]
        fn no_pause_is_shorter_than_that_of_a_younger_outcome_with_fewer_attempts(
            attempts in (0_u32..40, 0_u32..40),
            age in (0_u64..100_000, 0_u64..100_000),
            jitter in 0.0..1.0,
        ) {
            let of = |attempts, age| pause(attempts, Duration::from_secs(age), None, jitter);
            let (less, more) = (attempts.0.min(attempts.1), attempts.0.max(attempts.1));
            prop_assert!(of(less, age.0.min(age.1)) <= of(more, age.0.max(age.1)));
        }
    }
}
