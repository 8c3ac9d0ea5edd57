//! The enrolled namespaces.

use std::collections::HashSet;

use super::records::JobRecord;

/// The enrolled namespaces.
#[derive(Debug, Default)]
pub(super) struct EnrolledNamespaces {
    pub(super) names: HashSet<String>,
    /// They have been listed. Before that, no Job is out of enrolment.
    pub(super) listed: bool,
}

impl EnrolledNamespaces {
    /// Whether a Job is in enrolment.
    pub(super) fn observes(&self, job: &JobRecord) -> bool {
        let Some(facts) = &job.facts else { return true };
        (!self.listed || self.names.contains(&facts.identity.namespace)) && !facts.opted_out
    }
}
