//! The pods that were given up, so that a leftover is told to go silent.

use std::collections::{HashSet, VecDeque};

use jobwarden_common::identity::PodUid;

/// How many are remembered. One that is forgotten is refused as unknown instead, which harms nobody.
const MAX: usize = 10_000;

/// The latest pods that were given up. They are remembered beyond their objects: a leftover beats on when its node is
/// back, long after its pod has been removed from the API.
#[derive(Debug, Default)]
pub(super) struct AbandonedPods {
    known: HashSet<PodUid>,
    in_order: VecDeque<PodUid>,
}

impl AbandonedPods {
    pub(super) fn add(&mut self, pod: &PodUid) {
        if !self.known.insert(pod.clone()) {
            return;
        }
        self.in_order.push_back(pod.clone());
        if self.in_order.len() > MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, pod: &PodUid) -> bool {
        self.known.contains(pod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_when_there_are_too_many() {
        let mut abandoned = AbandonedPods::default();
        let uid = |i: usize| PodUid::from(i.to_string());
        for i in 0..=MAX {
            abandoned.add(&uid(i));
            abandoned.add(&uid(i));
        }
        assert!(!abandoned.contains(&uid(0)));
        assert!(abandoned.contains(&uid(1)) && abandoned.contains(&uid(MAX)));
    }
}
