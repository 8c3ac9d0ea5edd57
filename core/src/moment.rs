//! Time as the reaper measures it: by its own monotonic clock only.

use std::{num::NonZeroU64, ops::Add, time::Duration};

/// An instant on the reaper's signal clock: the time since the clock started, without the time during which a watch was down.
///
/// Clocks of nodes and of the API server are never compared with each other: everything that reaches the reaper is stamped with the
/// moment of its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(
    /// One more than the nanoseconds since the clock's start, so that `Option<Moment>` needs no more memory: there are a dozen in each pod.
    NonZeroU64,
);

impl Default for Moment {
    /// The clock's start.
    fn default() -> Self {
        Self(NonZeroU64::MIN)
    }
}

impl Moment {
    /// Later than every moment that will be.
    pub const NEVER: Self = Self(NonZeroU64::MAX);

    /// The moment `since_start` after the clock's start. Saturates after five centuries.
    pub const fn at(since_start: Duration) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos(since_start)))
    }

    /// The moment this much earlier; the clock's start, if that is later.
    #[must_use]
    pub const fn before(self, by: Duration) -> Self {
        Self(NonZeroU64::MIN.saturating_add((self.0.get() - 1).saturating_sub(nanos(by))))
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// Saturates, because a policy may express "never" as an enormous duration.
    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(nanos(after)))
    }
}

/// A length of time in nanoseconds. Cheaper to add to a [`Moment`] than a [`Duration`], which has to be converted each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nanos(u64);

impl Nanos {
    /// Saturates after five centuries.
    pub(crate) const fn of(duration: Duration) -> Self {
        Self(nanos(duration))
    }

    /// This length of time less one in `parts` parts of it. Not inlined: the compiler would compute it for every Job, and few need it.
    #[cold]
    #[inline(never)]
    pub(crate) const fn less_one_in(self, parts: u64) -> Self {
        Self(self.0 - self.0 / parts)
    }
}

impl Add<Nanos> for Moment {
    type Output = Self;

    /// Saturates, like the addition of a [`Duration`].
    fn add(self, Nanos(after): Nanos) -> Self {
        Self(self.0.saturating_add(after))
    }
}

#[allow(clippy::cast_lossless, clippy::cast_possible_truncation, reason = "`From` is not const")]
const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_exact_and_saturate() {
        let hour = Moment::at(Duration::from_hours(1));
        assert_eq!((hour + Duration::from_nanos(7)).since(hour), Duration::from_nanos(7));
        assert_eq!(Moment::default().since(hour), Duration::ZERO);
        assert_eq!(Moment::default(), Moment::at(Duration::ZERO));
        assert_eq!(hour + Duration::MAX, Moment::at(Duration::MAX));
        assert_eq!(size_of::<Option<Moment>>(), 8);
        assert_eq!((hour + Duration::from_nanos(7)).before(Duration::from_nanos(7)), hour);
        assert_eq!(hour.before(Duration::from_hours(2)), Moment::default());
    }

    #[test]
    fn nanos_are_as_exact_as_a_duration_and_saturate() {
        let hour = Moment::at(Duration::from_hours(1));
        for after in [Duration::ZERO, Duration::from_nanos(7), Duration::new(29, 999_999_999), Duration::MAX] {
            assert_eq!(hour + Nanos::of(after), hour + after);
        }
        let odd = Duration::new(5, 7);
        assert_eq!(Nanos::of(odd).less_one_in(6), Nanos::of(odd.saturating_sub(odd / 6)));
    }
}
