//! What was done about a Job that no object of the API shows.

use std::collections::BTreeSet;

use jobwarden_common::identity::PodUid;

use crate::plan::step::NoticeKey;

/// What was done about one Job that no object of the API shows.
#[derive(Debug, Default)]
pub(super) struct JobMemory {
    /// Recorded by an Event since this process leads, and still true when the Job was last evaluated.
    pub(super) notified: BTreeSet<NoticeKey>,
    /// The pods whose sidecars are told to stop.
    pub(super) abandoned: BTreeSet<PodUid>,
    /// The guard that holds a loss of the Job.
    pub(super) held: Option<&'static str>,
}
