//! Whether Jobs and pods are watched, listed from time to time, or both.

use std::time::Duration;

use super::values::{VariableError, seconds, unexpected};
use crate::watch::LIST_INTERVALS;

/// What the variables say of watch and lists; what they do not say is for the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowBy {
    /// `MONITOR_WATCHING_ENABLED`.
    pub watch: Option<bool>,
    /// `MONITOR_REAPER_ENABLED`.
    pub list: Option<bool>,
    /// `MONITOR_REAPER_INTERVAL`.
    pub interval: Option<Duration>,
}

impl FollowBy {
    pub(super) fn check(self) -> Result<(), VariableError> {
        if self.watch == Some(false) && self.list == Some(false) {
            return Err(VariableError::NothingFollows);
        }
        Ok(())
    }
}

/// The interval of lists, within the bounds of the flag.
pub(super) fn interval(name: &str, value: &str) -> Result<Duration, VariableError> {
    let interval = seconds(name, value)?;
    if LIST_INTERVALS.contains(&interval) {
        return Ok(interval);
    }
    let (least, most) = (LIST_INTERVALS.start().as_secs(), LIST_INTERVALS.end().as_secs());
    Err(unexpected(name, value, format!("from {least} to {most} seconds")))
}
