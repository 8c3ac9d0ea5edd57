//! The laws' own clock: the time that the reaper could hear, told from the actual and not by the reaper's own clock.

use std::time::Duration;

/// What one outage may cost beside its length, in milliseconds. A watch that went silent may have heard nothing for 25 s
/// before that; connecting anew takes up to 5 s, and the own beat that tells of a working Service comes every 5 s; a term
/// begins up to 15 s late; the clock stands for 15 s before the missing own beat is noticed.
const OUTAGE_MS: i64 = 60_000;

/// Counts milliseconds of hearing, less [`OUTAGE_MS`] for every outage: a deadline that is reached on this clock leaves no
/// excuse.
#[derive(Debug, Default)]
pub(crate) struct SignalClock {
    since: Option<Duration>,
    total: i64,
}

impl SignalClock {
    /// Whether the reaper receiving from `now` on.
    pub(crate) fn set(&mut self, receiving: bool, now: Duration) {
        match (self.since, receiving) {
            (None, true) => {
                // At the end of the outage, so that what was stamped while it lasted has the same excuse.
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

    /// What the clock shows.
    pub(crate) fn at(&self, now: Duration) -> i64 {
        self.total + self.since.map_or(0, |since| ms(now.saturating_sub(since)))
    }

    /// Whether the reaper receiving.
    pub(crate) fn is_receiving(&self) -> bool {
        self.since.is_some()
    }
}

/// Whole milliseconds; histories last for minutes, policies for days at most.
pub(crate) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
