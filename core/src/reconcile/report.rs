//! What came of the steps of one plan.

use jobwarden_common::identity::PodUid;

use crate::plan::step::NoticeKey;

/// What came of the steps of one plan, as far as the next plan depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepReport {
    /// Recorded by an Event.
    pub notified: Vec<NoticeKey>,
    /// Recorded by an Event earlier, and no longer true.
    pub cleared: Vec<NoticeKey>,
    /// The pods whose sidecars are to be told to stop.
    pub abandoned: Vec<PodUid>,
    /// The Job is to be forgotten.
    pub forget: bool,
    /// A step could not be taken; those that depend on it were left out.
    pub failed: bool,
}
