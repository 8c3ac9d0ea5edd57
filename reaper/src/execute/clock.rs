//! The times that the executor writes.

use jiff::{Timestamp, Unit};

use crate::clock;

/// The current time in milliseconds.
pub(super) fn wall_clock() -> Timestamp {
    let now = clock::now();
    now.round(Unit::Millisecond).unwrap_or(now)
}

/// The current time in seconds, as conditions hold it (`metav1.Time`).
pub(super) fn condition_time() -> String {
    format!("{:.0}", wall_clock())
}
