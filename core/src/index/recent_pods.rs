//! Pods that are remembered for a while: the abandoned ones, whose sidecars are told to stop, and the foreign ones, which are counted once.

use std::collections::{HashSet, VecDeque};

use jobwarden_common::identity::PodUid;

/// How many pods are remembered. The beat of an abandoned pod that is forgotten is rejected as unknown instead, and a foreign one is
/// counted again: neither does harm.
const MAX: usize = 10_000;

/// The pods that were added most recently. They are remembered longer than their objects: a worker on a node that returns beats again
/// long after its pod was removed from the API.
#[derive(Debug, Default)]
pub(super) struct RecentPods {
    known: HashSet<PodUid>,
    in_order: VecDeque<PodUid>,
}

impl RecentPods {
    /// Adds a pod. Returns whether it is a new one.
    pub(super) fn add(&mut self, pod: &PodUid) -> bool {
        if !self.known.insert(pod.clone()) {
            return false;
        }
        self.in_order.push_back(pod.clone());
        if self.in_order.len() > MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    pub(super) fn contains(&self, pod: &PodUid) -> bool {
        self.known.contains(pod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_pod_is_forgotten_when_there_are_too_many() {
        let mut recent = RecentPods::default();
        let uid = |i: usize| PodUid::from(i.to_string());
        for i in 0..=MAX {
            assert!(recent.add(&uid(i)));
            assert!(!recent.add(&uid(i)));
        }
        assert!(!recent.contains(&uid(0)));
        assert!(recent.contains(&uid(1)) && recent.contains(&uid(MAX)));
    }
}
