//! Whether Jobs and pods are watched, listed from time to time, or both.

use std::{ops::RangeInclusive, time::Duration};

/// How long the time between two lists may be. A list reads every enrolled Job and pod; and what a list does not show for an hour is
/// not followed any more.
pub const LIST_INTERVALS: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_hours(1);

/// How often the objects are listed and compared with what a watch has delivered, unless configured otherwise.
const LIST_EVERY: Duration = Duration::from_mins(10);

/// Whether Jobs and pods are watched, listed from time to time, or both.
///
/// | watch | lists | what happens |
/// |---|---|---|
/// | yes | yes | every change at once; each list compares the objects, and all is read again if the watch has missed something |
/// | yes | no | every change at once; what a watch misses without an error stays missed |
/// | no | yes | changes are seen with the next list |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    watch: bool,
    list_every: Option<Duration>,
}

/// Neither a watch nor lists would follow the Jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--watch=false and --list-interval=never: Jobs are followed by a watch, by lists, or by both; set one of them")]
pub struct NothingFollows;

impl Default for Schedule {
    fn default() -> Self {
        Self { watch: true, list_every: Some(LIST_EVERY) }
    }
}

impl Schedule {
    /// A watch if `watch`, and a list after each `list_every`.
    ///
    /// # Errors
    ///
    /// Returns an error if there would be neither.
    pub fn new(watch: bool, list_every: Option<Duration>) -> Result<Self, NothingFollows> {
        if watch || list_every.is_some() { Ok(Self { watch, list_every }) } else { Err(NothingFollows) }
    }

    /// The time between two lists; `None` for none.
    pub(super) fn lists(self) -> Option<Duration> {
        self.list_every
    }

    /// The time between two lists, if nothing is watched.
    pub(super) fn lists_only(self) -> Option<Duration> {
        self.list_every.filter(|_| !self.watch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_has_to_follow_the_jobs() {
        assert_eq!(Schedule::new(false, None), Err(NothingFollows));
        assert_eq!(Schedule::new(true, None).map(Schedule::lists_only), Ok(None));
        assert_eq!(Schedule::new(false, Some(LIST_EVERY)).map(Schedule::lists_only), Ok(Some(LIST_EVERY)));
        assert_eq!(Schedule::new(true, Some(LIST_EVERY)), Ok(Schedule::default()));
    }
}
