//! The wall clock of the executor.

use jiff::{Timestamp, Unit};

/// The current wall-clock time in milliseconds. For display and receivers only: no decision depends on it.
pub(super) fn wall_clock() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Millisecond).unwrap_or(now)
}

/// The current wall-clock time in seconds, as conditions hold it (`metav1.Time`).
pub(super) fn condition_time() -> String {
    format!("{:.0}", wall_clock())
}
