//! The laws' own clock: the time in which the reaper could receive signals, computed from the actual state and not from the
//! reaper's own clock.

use std::time::Duration;

/// What one outage may cost beside its length, in milliseconds. A stalled watch may have received nothing for 25 s before;
/// reconnecting takes up to 5 s, and the own beat that proves the Service comes every 5 s; a term begins up to 15 s late; the
/// clock runs for 15 s until the missing own beat is detected.
const OUTAGE_MS: i64 = 60_000;

/// Counts the milliseconds in which the reaper could receive, minus [`OUTAGE_MS`] for every outage: a deadline that has passed
/// on this clock has no excuse.
#[derive(Debug, Default)]
pub(crate) struct SignalClock {
    since: Option<Duration>,
    total: i64,
}

impl SignalClock {
    /// Whether the reaper can receive from `now` on.
    pub(crate) fn set(&mut self, receiving: bool, now: Duration) {
        match (self.since, receiving) {
            (None, true) => {
                // At the end of the outage, so that what was stamped during the outage has the same excuse.
                self.total -= OUTAGE_MS;
                self.since = Some(now);
            }
            (Some(since), false) => {
                self.total += ms(now.saturating_sub(since));
                self.since = None;
            }
            _ => {}
        }
    }

    /// The time on the clock.
    pub(crate) fn at(&self, now: Duration) -> i64 {
        self.total + self.since.map_or(0, |since| ms(now.saturating_sub(since)))
    }

    /// Whether the reaper can receive now.
    pub(crate) fn is_receiving(&self) -> bool {
        self.since.is_some()
    }
}

/// Whole milliseconds. Histories take minutes, policies days at most.
pub(crate) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
