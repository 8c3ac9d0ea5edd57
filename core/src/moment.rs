//! Time as the reaper counts it: by its own monotonic clock only.

use std::{num::NonZeroU64, ops::Add, time::Duration};

/// An instant on the reaper's listening clock: the time since it started, less the time it was deaf.
///
/// No clock of a node or of the API server is ever compared with another: whatever reaches the reaper is stamped with
/// such a moment on receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(
    /// One more than the nanoseconds since the clock's start, so that no moment at all takes no more room: there are a dozen a pod.
    NonZeroU64,
);

impl Default for Moment {
    /// The clock's start.
    fn default() -> Self {
        Self(NonZeroU64::MIN)
    }
}

impl Moment {
    /// The moment `since_start` after the clock's start, which is no more than five centuries.
    pub const fn at(since_start: Duration) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos(since_start)))
    }

    /// How long before `self` the `earlier` moment was; zero if it was not before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// Saturates, for a policy may say "never" with an enormous duration.
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
    fn it_is_exact_and_saturates() {
        let hour = Moment::at(Duration::from_hours(1));
        assert_eq!((hour + Duration::from_nanos(7)).since(hour), Duration::from_nanos(7));
        assert_eq!(Moment::default().since(hour), Duration::ZERO);
        assert_eq!(Moment::default(), Moment::at(Duration::ZERO));
        assert_eq!(hour + Duration::MAX, Moment::at(Duration::MAX));
        assert_eq!(size_of::<Option<Moment>>(), 8);
    }
}
