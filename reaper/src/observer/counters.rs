//! What the observer counts when it happens.

use jobwarden_core::health::Watch;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

/// What is counted when it happens.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) inconsistencies: Family<InconsistencyLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct InconsistencyLabels {
    watch: &'static str,
    found_by: &'static str,
}

impl Counters {
    pub(super) fn count_inconsistency(&self, watch: Watch, found_by: &'static str) {
        self.inconsistencies.get_or_create(&InconsistencyLabels { watch: watch.as_str(), found_by }).inc();
    }
}
