//! Time as the reaper counts it: by its own monotonic clock only.

use std::{ops::Add, time::Duration};

/// An instant on the reaper's listening clock: the time since it started, less the time it was deaf.
///
/// No clock of a node or of the API server is ever compared with another: whatever reaches the reaper is stamped with
/// such a moment on receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(Duration);

impl Moment {
    /// The moment `since_start` after the clock's start.
    pub const fn at(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// How long before `self` the `earlier` moment was; zero if it was not before.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// Saturates, for a policy may say "never" with an enormous duration.
    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(after))
    }
}
