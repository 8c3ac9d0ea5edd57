//! The breaker: what has tripped, what it holds, and what it releases next.

use serde::{Deserialize, Serialize};

/// `GET /v1/breaker`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerStatus {
    /// Whether it holds a loss now.
    pub holds: bool,
    /// Number of Jobs with a loss that it holds.
    pub held_jobs: usize,
    /// Number of nodes that carry workers.
    pub nodes: usize,
    /// Number of these from which nothing is received.
    pub silent: usize,
    /// After how many seconds what it holds is released, one node a minute.
    pub hold_for_seconds: u64,
    /// What has tripped.
    pub domains: Vec<BreakerDomain>,
}

/// A failure domain that has tripped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerDomain {
    /// What is counted: `silent-nodes`, `process-gone-nodes` or `heartbeat-lost-jobs`.
    pub counted: String,
    /// Where: `cluster`, `zone` or `namespace`.
    pub scope: String,
    /// The name of the zone or namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Number of nodes or Jobs that are affected.
    pub affected: usize,
    /// Number of nodes or Jobs in the domain.
    pub of: usize,
    /// When it tripped.
    pub since: String,
    /// Nodes or Jobs return; it is released when no more have returned for 30 s.
    pub returning: bool,
    /// What it holds.
    pub held: Vec<BreakerHeld>,
    /// In how many seconds the next node or Job is released; absent while no node that carries workers reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_release_in_seconds: Option<u64>,
}

/// A node or a Job whose losses the breaker holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerHeld {
    /// `Node` or `Job`.
    pub kind: String,
    /// The namespace of a Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// For how many seconds it has been held.
    pub held_seconds: u64,
}

/// The response to `POST /v1/breaker/release`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerReleased {
    /// Number of nodes and Jobs that were held.
    pub released: usize,
}
