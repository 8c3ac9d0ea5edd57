//! How many foreign pods there were.

use jobwarden_common::identity::PodUid;

use super::recent_pods::RecentPods;
use crate::facts::membership::Mismatch;

/// The foreign pods that were found.
#[derive(Debug, Default)]
pub struct ForeignPods {
    recent: RecentPods,
    pub(super) counts: [u64; Mismatch::ALL.len()],
}

impl ForeignPods {
    /// How many there were, for each reason.
    pub fn by_mismatch(&self) -> [(Mismatch, u64); Mismatch::ALL.len()] {
        std::array::from_fn(|i| (Mismatch::ALL[i], self.counts[i]))
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn add(&mut self, pod: &PodUid, mismatch: Mismatch) {
        if self.recent.add(pod) {
            self.counts[mismatch as usize] += 1;
        }
    }
}
