//! The enrolled namespaces, and the Jobs that are selected by their labels elsewhere.

use std::collections::HashSet;

use super::records::JobRecord;
use crate::{facts::job::JobFacts, selection::Selection};

/// The enrolled namespaces.
#[derive(Debug, Default)]
pub(super) struct EnrolledNamespaces {
    pub(super) names: HashSet<String>,
    /// They have been listed. Before that, no Job is out of enrolment.
    pub(super) listed: bool,
    /// Jobs of other namespaces that are followed by their labels.
    pub(super) selection: Selection,
}

impl EnrolledNamespaces {
    /// Whether a Job is in enrolment.
    pub(super) fn observes(&self, job: &JobRecord) -> bool {
        let Some(facts) = &job.facts else { return true };
        (!self.listed || self.contains(facts)) && !facts.opted_out
    }

    /// Whether the namespace of a Job is enrolled, or the Job is selected by its labels.
    pub(super) fn contains(&self, facts: &JobFacts) -> bool {
        let namespace = &facts.identity.namespace;
        self.names.contains(namespace) || self.selection.selects(namespace, &facts.labels)
    }
}
