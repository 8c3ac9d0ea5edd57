//! What happened to one Job, in the order in which the reaper learned of it.

use crate::moment::Moment;

/// How many entries are kept of one Job. The first one stays; of the others, the oldest are dropped.
const MAX_ENTRIES: usize = 32;

/// A bounded list of events, in the order in which they were received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Timeline(Vec<Event>);

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// When it was received.
    pub(super) at: Moment,
    /// What it was.
    pub(super) what: Box<str>,
}

impl Timeline {
    /// Adds an event.
    pub(super) fn add(&mut self, at: Moment, what: impl Into<Box<str>>) {
        if self.0.len() == MAX_ENTRIES {
            self.0.remove(1);
        }
        // Most Jobs have few.
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(2);
        }
        self.0.push(Event { at, what: what.into() });
    }

    /// All events, the oldest first, with `more` among them.
    pub(super) fn with(&self, more: impl IntoIterator<Item = Event>) -> Vec<Event> {
        let mut all: Vec<_> = self.0.iter().cloned().chain(more).collect();
        // Stable: events of one moment stay in order.
        all.sort_by_key(|event| event.at);
        all
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn moment(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    #[test]
    fn a_full_timeline_keeps_the_first_event_and_the_latest() {
        let mut timeline = Timeline::default();
        for second in 0..100 {
            timeline.add(moment(second), format!("{second}"));
        }
        let kept: Vec<_> = timeline.with([]).into_iter().map(|event| event.at).collect();
        let expected: Vec<_> = std::iter::once(0).chain(69..100).map(moment).collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn events_that_are_added_for_reading_are_in_order_of_time() {
        let mut timeline = Timeline::default();
        timeline.add(moment(1), "a");
        timeline.add(moment(3), "c");
        let all = timeline.with([Event { at: moment(2), what: "b".into() }]);
        assert_eq!(all.iter().map(|event| &*event.what).collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
