//! What holds lost verdicts.

use serde::{Deserialize, Serialize};

/// `GET /v1/guards`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Guards {
    /// Whether the reaper receives beats, reports and watch events: `receiving`, `self-beat` or `watch-down`.
    pub signals: String,
    /// For how long this leader has received them without a break.
    pub listening_seconds: u64,
    /// The breaker.
    pub breaker: BreakerState,
    /// The Jobs whose lost verdict a guard holds.
    pub held: Vec<HeldJob>,
}

/// How close the breaker is to tripping.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerState {
    /// Number of nodes that carry workers and from which nothing is received.
    pub silent: usize,
    /// Number of nodes that carry workers.
    pub of: usize,
    /// Whether the breaker holds a lost verdict now.
    pub holds: bool,
}

/// A Job whose lost verdict a guard holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldJob {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The guard.
    pub guard: String,
}
