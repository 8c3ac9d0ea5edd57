//! Decides when the next beat is due. It reads no clock.

use std::time::Duration;

/// Relative jitter of the interval in both directions: pods created together must not send beats together.
const JITTER: f64 = 0.1;

/// The wait after the first failure.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// The longest time between two attempts while the reaper is unreachable.
const MAX_RETRY: Duration = Duration::from_secs(15);

/// The intervals that the reaper can set. A faulty reaper can then neither burn the worker's CPU nor silence the sidecar
/// for good; the command `stop` exists for that.
const INTERVAL_BOUNDS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(5);

/// The interval between beats, and the exponential backoff while beats fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    interval: Duration,
    /// Consecutive failed attempts.
    failures: u32,
}

impl Schedule {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, failures: 0 }
    }

    /// Records a reply that asks for the next beat after `next_in`.
    pub(crate) fn succeeded(&mut self, next_in: Duration) {
        self.interval = next_in.clamp(*INTERVAL_BOUNDS.start(), *INTERVAL_BOUNDS.end());
        self.failures = 0;
    }

    /// Records a failed attempt.
    pub(crate) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Time from the start of the last attempt to the start of the next. `random` lies between 0 and 1.
    pub(crate) fn wait(&self, random: f64) -> Duration {
        match self.failures {
            0 => self.interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * random),
            // Half of the wait is random: a thousand sidecars that lost the same reaper must not reconnect together.
            n => {
                let doubled = FIRST_RETRY.saturating_mul(1_u32.checked_shl(n - 1).unwrap_or(u32::MAX));
                doubled.min(MAX_RETRY).mul_f64(0.5 + 0.5 * random)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[rstest]
    #[case(0.0, 9_000)]
    #[case(0.5, 10_000)]
    #[case(1.0, 11_000)]
    fn the_interval_has_ten_percent_jitter(#[case] random: f64, #[case] wait_ms: u64) {
        assert_eq!(Schedule::new(MS(10_000)).wait(random), MS(wait_ms));
    }

    #[rstest]
    #[case(1, 500)]
    #[case(2, 1_000)]
    #[case(3, 2_000)]
    #[case(5, 8_000)]
    #[case(6, 15_000)]
    #[case(40, 15_000)]
    fn each_failure_doubles_the_wait_up_to_a_maximum(#[case] failures: u32, #[case] longest_ms: u64) {
        let schedule = Schedule { failures, ..Schedule::new(MS(10_000)) };
        assert_eq!(schedule.wait(1.0), MS(longest_ms));
        assert_eq!(schedule.wait(0.0), MS(longest_ms / 2));
    }

    #[test]
    fn a_reply_resets_the_backoff_and_sets_the_interval() {
        let mut schedule = Schedule { failures: 9, ..Schedule::new(MS(10_000)) };
        schedule.succeeded(MS(2_000));
        assert_eq!(schedule.wait(0.5), MS(2_000));
    }

    #[rstest]
    #[case(0, 1)]
    #[case(u64::MAX, 300_000)]
    fn an_extreme_interval_from_the_reaper_is_clamped(#[case] asked_ms: u64, #[case] wait_ms: u64) {
        let mut schedule = Schedule::new(MS(10_000));
        schedule.succeeded(MS(asked_ms));
        assert_eq!(schedule.wait(0.5), MS(wait_ms));
    }

    proptest! {
        #[test]
        fn failed_attempts_are_never_more_than_15_s_apart(failures in 1_u32.., random in 0.0..=1.0) {
            let schedule = Schedule { failures, ..Schedule::new(MS(10_000)) };
            prop_assert!(schedule.wait(random) <= MAX_RETRY);
            prop_assert!(schedule.wait(random) >= FIRST_RETRY / 2);
        }
    }
}
