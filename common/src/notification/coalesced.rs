//! Outcomes of one namespace that are reported together, because it has more than its share.

use serde::{Deserialize, Serialize};

use super::kind::OutcomeKind;
use crate::identity::{JobId, JobUid, RunId};

/// Outcomes of one namespace that are reported together, because it has more than its share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Coalesced {
    /// How many outcomes.
    pub count: usize,
    /// How many of each kind and reason, the most first.
    pub by: Vec<CoalescedKind>,
    /// Some of them by name, the lost ones first.
    pub jobs: Vec<CoalescedJob>,
}

/// How many outcomes of a kind have a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CoalescedKind {
    /// The kind of outcome.
    pub kind: OutcomeKind,
    /// The reason, or `Other` for all rare ones.
    pub reason: String,
    /// How many.
    pub count: usize,
}

/// One of the outcomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CoalescedJob {
    /// The Job's name.
    pub job_name: String,
    /// The Job's UID.
    pub job_uid: JobUid,
    /// The orchestrator's run ID, unless it is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The orchestrator's job ID, unless it is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// The kind of outcome.
    pub kind: OutcomeKind,
    /// The reason.
    pub reason: String,
}
