//! Jobs with equal policies share one.

use std::sync::Arc;

use crate::policy::Effective;

/// How many policies are remembered. A cluster has a few, by its namespaces and rules; where each Job has one of its own, remembering
/// more gains nothing.
const MAX: usize = 64;

/// The policies that Jobs were given most recently, each once.
#[derive(Debug, Default)]
pub(super) struct Interner(Vec<Arc<Effective>>);

impl Interner {
    /// An equal policy, shared with the other Jobs that have it.
    pub(super) fn share(&mut self, effective: Arc<Effective>) -> Arc<Effective> {
        if let Some(known) = self.0.iter().find(|known| **known == effective) {
            return Arc::clone(known);
        }
        if self.0.len() == MAX {
            self.0.clear();
        }
        self.0.push(Arc::clone(&effective));
        effective
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::Policy;

    fn effective(seconds: u64) -> Arc<Effective> {
        let policy = Policy { lost_after: Duration::from_secs(seconds), ..Policy::default() };
        Arc::new(Effective { policy, ..Effective::default() })
    }

    #[test]
    fn equal_policies_are_shared() {
        let mut interner = Interner::default();
        let first = interner.share(effective(1));
        assert!(Arc::ptr_eq(&first, &interner.share(effective(1))));
        assert_eq!(interner.share(effective(2)), effective(2));
        assert!(Arc::ptr_eq(&first, &interner.share(effective(1))));
    }

    #[test]
    fn a_bounded_number_of_policies_is_remembered() {
        let mut interner = Interner::default();
        for seconds in 0..1000 {
            assert_eq!(interner.share(effective(seconds)), effective(seconds));
        }
        assert!(interner.0.len() <= MAX);
    }
}
