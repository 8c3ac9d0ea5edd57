//! What the reconciler keeps in memory about a Job because no object in the API shows it.

use std::collections::{BTreeMap, BTreeSet};

use jobwarden_common::identity::PodUid;

use crate::plan::step::NoticeKey;

/// What is kept in memory about one Job because no object in the API shows it.
#[derive(Debug, Default)]
pub(super) struct JobMemory {
    /// Events recorded since this process became the leader, which were still true at the last evaluation.
    pub(super) notified: BTreeSet<NoticeKey>,
    /// The pods whose sidecars are told to stop.
    pub(super) abandoned: BTreeSet<PodUid>,
    /// What the API server answered to the last write where it refused the write for good; see [`Recorded`](crate::plan::step::Recorded).
    pub(super) refused: BTreeMap<Option<PodUid>, String>,
    /// The pods that our own sidecar keeps from starting by what their Events say.
    pub(super) sidecar_faults: BTreeMap<PodUid, String>,
    /// The guard that holds a loss of the Job.
    pub(super) held: Option<&'static str>,
}
