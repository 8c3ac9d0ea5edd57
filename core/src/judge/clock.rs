//! The clock of one evaluation of the table.

use std::time::Duration;

use crate::moment::Moment;

/// Compares times with the present and records the earliest comparison whose result will change with time alone. A verdict is a
/// function of the comparisons that led to it, so it cannot change before that moment.
pub(super) struct Clock {
    pub(super) now: Moment,
    next: Option<Moment>,
}

impl Clock {
    pub(super) fn new(now: Moment) -> Self {
        Self { now, next: None }
    }

    /// Whether `after` has passed since `since`.
    pub(super) fn passed(&mut self, since: Moment, after: Duration) -> bool {
        self.reached(since + after)
    }

    /// Whether the moment `at` has come.
    pub(super) fn reached(&mut self, at: Moment) -> bool {
        if self.now >= at {
            return true;
        }
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
        false
    }

    /// When the first of the comparisons that were made will have another result.
    pub(super) fn next_change(&self) -> Option<Moment> {
        self.next
    }
}
