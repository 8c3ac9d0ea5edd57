//! The state of the sinks as their workers last reported it, for the API.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jobwarden_common::api::SinkReport;

/// The reports by the names of the sinks. Clones share the same state.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports(Arc<Mutex<BTreeMap<String, SinkReport>>>);

impl Reports {
    /// All reports, in the order of the names.
    pub(super) fn all(&self) -> Vec<SinkReport> {
        self.lock().values().cloned().collect()
    }

    /// Replaces the report of a sink.
    pub(super) fn put(&self, report: SinkReport) {
        self.lock().insert(report.name.clone(), report);
    }

    /// Drops the reports of other sinks than these.
    pub(super) fn keep(&self, names: &BTreeSet<String>) {
        self.lock().retain(|name, _| names.contains(name));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, SinkReport>> {
        // A report is replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
