//! Time as the reaper measures it: by its own monotonic clock only.

use std::{num::NonZeroU64, ops::Add, time::Duration};

/// An instant on the reaper's signal clock: the time since the clock started, without the time during which signals did not arrive.
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
    /// The moment `since_start` after the clock's start. Saturates after five centuries.
    pub const fn at(since_start: Duration) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos(since_start)))
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

#[allow(clippy::cast_lossless, reason = "`From` is not const")]
const fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos() as u64)
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
    }
}
