//! The abandoned pods: their sidecars are told to stop.

use std::collections::{HashSet, VecDeque};

use jobwarden_common::identity::PodUid;

/// How many pods are remembered. The beat of a pod that is forgotten is rejected as unknown instead, which does no harm.
const MAX: usize = 10_000;

/// The pods that were abandoned most recently. They are remembered longer than their objects: a worker on a node that returns beats
/// again long after its pod was removed from the API.
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
    fn the_oldest_pod_is_forgotten_when_there_are_too_many() {
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
