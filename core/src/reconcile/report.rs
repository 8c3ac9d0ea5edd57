//! The results of the steps of one plan.

use jobwarden_common::identity::PodUid;

use crate::plan::step::NoticeKey;

/// The results of the steps of one plan, as far as the next plan depends on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepReport {
    /// The Events that were recorded.
    pub notified: Vec<NoticeKey>,
    /// The Events that were recorded earlier and are no longer true.
    pub cleared: Vec<NoticeKey>,
    /// The pods whose sidecars are to be told to stop.
    pub abandoned: Vec<PodUid>,
    /// The Job is to be forgotten.
    pub forget: bool,
    /// What the API server answered where it refused a write about a pod, or about the Job if `None`, for good.
    pub refused: Vec<(Option<PodUid>, String)>,
    /// The pods that our own sidecar keeps from starting, and what their Events say.
    pub sidecar_faults: Vec<(PodUid, String)>,
    /// A step failed, and the steps that depend on it were skipped.
    pub failed: bool,
}
