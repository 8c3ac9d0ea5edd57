//! Which notifications were received before.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::{BuildHasher as _, RandomState},
};

/// How many notifications are remembered. The oldest is forgotten first.
const MOST: usize = 10_000;

/// The notifications received so far, by ID. Only hashes are kept, so that long IDs take no memory.
#[derive(Default)]
pub(super) struct Seen {
    state: RandomState,
    by_id: HashMap<u64, Delivery>,
    oldest_first: VecDeque<u64>,
}

/// The deliveries of one notification.
#[derive(Clone, Copy)]
struct Delivery {
    content: u64,
    count: u32,
}

/// How often a notification was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occurrence {
    /// For the first time.
    First,
    /// Again. A sink sends the same content every time.
    Again {
        /// Deliveries with this one.
        count: u32,
        /// Whether the content is that of the first delivery.
        same: bool,
    },
}

impl Seen {
    /// Notes a delivery.
    pub(super) fn note(&mut self, id: &str, content: &[u8]) -> Occurrence {
        let (id, content) = (self.state.hash_one(id), self.state.hash_one(content));
        match self.by_id.entry(id) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.count = known.count.saturating_add(1);
                Occurrence::Again { count: known.count, same: known.content == content }
            }
            Entry::Vacant(unknown) => {
                unknown.insert(Delivery { content, count: 1 });
                self.oldest_first.push_back(id);
                if self.oldest_first.len() > MOST
                    && let Some(oldest) = self.oldest_first.pop_front()
                {
                    self.by_id.remove(&oldest);
                }
                Occurrence::First
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_known_by_its_id() {
        let mut seen = Seen::default();
        assert_eq!(seen.note("a", b"1"), Occurrence::First);
        assert_eq!(seen.note("b", b"1"), Occurrence::First);
        assert_eq!(seen.note("a", b"1"), Occurrence::Again { count: 2, same: true });
        assert_eq!(seen.note("a", b"2"), Occurrence::Again { count: 3, same: false });
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut seen = Seen::default();
        for number in 0..=MOST {
            assert_eq!(seen.note(&number.to_string(), b""), Occurrence::First);
        }
        assert_eq!(seen.note(&MOST.to_string(), b""), Occurrence::Again { count: 2, same: true });
        assert_eq!(seen.note("0", b""), Occurrence::First);
        assert_eq!(seen.by_id.len(), MOST);
    }
}
