//! When to beat next: a decision without a clock.

use std::time::Duration;

/// A beat comes up to this much earlier or later than asked for, so that pods made together do not beat together.
const SPREAD: f64 = 0.1;

/// The wait after the first failure.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// No two attempts are further apart while the reaper cannot be reached.
const LAST_RETRY: Duration = Duration::from_secs(15);

/// The reaper may ask for beats no faster and no slower than this, so that a mistake of its neither burns the worker's
/// CPU nor silences it for good (that is what the command `stop` is for).
const ASKABLE: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(5);

/// How things went lately.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    interval: Duration,
    /// Attempts that failed since the last that succeeded.
    failures: u32,
}

impl Pace {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, failures: 0 }
    }

    /// A beat was answered, and the next is wanted after `next_in`.
    pub(crate) fn answered(&mut self, next_in: Duration) {
        self.interval = next_in.clamp(*ASKABLE.start(), *ASKABLE.end());
        self.failures = 0;
    }

    /// An attempt failed.
    pub(crate) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Time from the start of the last attempt to the start of the next. `chance` is from 0 to 1.
    pub(crate) fn wait(&self, chance: f64) -> Duration {
        match self.failures {
            0 => self.interval.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * chance),
            // Half of it is chance: a thousand sidecars that lost the same reaper must not come back in step.
            n => {
                let doubled = FIRST_RETRY.saturating_mul(1_u32.checked_shl(n - 1).unwrap_or(u32::MAX));
                doubled.min(LAST_RETRY).mul_f64(0.5 + 0.5 * chance)
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
    fn a_beat_comes_within_a_tenth_of_the_interval(#[case] chance: f64, #[case] wait_ms: u64) {
        assert_eq!(Pace::new(MS(10_000)).wait(chance), MS(wait_ms));
    }

    #[rstest]
    #[case(1, 500)]
    #[case(2, 1_000)]
    #[case(3, 2_000)]
    #[case(5, 8_000)]
    #[case(6, 15_000)]
    #[case(40, 15_000)]
    fn failures_double_the_wait_up_to_a_bound(#[case] failures: u32, #[case] longest_ms: u64) {
        let pace = Pace { failures, ..Pace::new(MS(10_000)) };
        assert_eq!(pace.wait(1.0), MS(longest_ms));
        assert_eq!(pace.wait(0.0), MS(longest_ms / 2));
    }

    #[test]
    fn an_answer_ends_the_backoff_and_sets_the_interval() {
        let mut pace = Pace { failures: 9, ..Pace::new(MS(10_000)) };
        pace.answered(MS(2_000));
        assert_eq!(pace.wait(0.5), MS(2_000));
    }

    #[rstest]
    #[case(0, 1)]
    #[case(u64::MAX, 300_000)]
    fn an_odd_wish_of_the_reaper_is_bounded(#[case] asked_ms: u64, #[case] wait_ms: u64) {
        let mut pace = Pace::new(MS(10_000));
        pace.answered(MS(asked_ms));
        assert_eq!(pace.wait(0.5), MS(wait_ms));
    }

    proptest! {
        #[test]
        fn attempts_are_never_more_than_15_s_apart_while_they_fail(failures in 1_u32.., chance in 0.0..=1.0) {
            let pace = Pace { failures, ..Pace::new(MS(10_000)) };
            prop_assert!(pace.wait(chance) <= LAST_RETRY);
            prop_assert!(pace.wait(chance) >= FIRST_RETRY / 2);
        }
    }
}
