//! Answers of the API server that are kept for a moment, in bounded memory.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// A SHA-256 digest: neither tokens nor names are kept.
pub(super) type Digest = [u8; 32];

/// A cache of bounded size whose entries expire. When it is full, the oldest entry goes.
#[derive(Debug)]
pub(super) struct Cache<V> {
    entries: HashMap<Digest, (Instant, V)>,
    /// The keys in the order of their insertion; of a key that was inserted again, the last place counts.
    order: VecDeque<(Instant, Digest)>,
    capacity: usize,
}

impl<V: Clone> Cache<V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), capacity }
    }

    /// What is known at `now`.
    pub(super) fn get(&self, key: &Digest, now: Instant) -> Option<V> {
        self.entries.get(key).filter(|(until, _)| *until > now).map(|(_, value)| value.clone())
    }

    /// Keeps a value for `keep` from `now` on.
    pub(super) fn put(&mut self, key: Digest, value: V, now: Instant, keep: Duration) {
        let until = now + keep;
        self.entries.insert(key, (until, value));
        self.order.push_back((until, key));
        while self.order.len() > self.capacity
            && let Some((until, oldest)) = self.order.pop_front()
        {
            if self.entries.get(&oldest).is_some_and(|(kept, _)| *kept == until) {
                self.entries.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_answer_is_kept_until_it_expires() {
        let (mut cache, now) = (Cache::new(9), Instant::now());
        cache.put([1; 32], true, now, SECOND);
        assert_eq!(cache.get(&[1; 32], now), Some(true));
        assert_eq!(cache.get(&[2; 32], now), None);
        assert_eq!(cache.get(&[1; 32], now + SECOND), None);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_answer_goes() {
        let (mut cache, now) = (Cache::new(3), Instant::now());
        for key in 0..100 {
            cache.put([key; 32], key, now, SECOND);
        }
        assert_eq!((cache.entries.len(), cache.order.len()), (3, 3));
        assert_eq!(cache.get(&[96; 32], now), None);
        assert_eq!(cache.get(&[97; 32], now), Some(97));
    }

    #[test]
    fn an_answer_that_was_renewed_stays() {
        let (mut cache, now) = (Cache::new(2), Instant::now());
        cache.put([1; 32], 1, now, SECOND);
        cache.put([1; 32], 2, now + SECOND, SECOND);
        cache.put([3; 32], 3, now + SECOND, SECOND);
        assert_eq!(cache.get(&[1; 32], now + SECOND), Some(2));
    }
}
