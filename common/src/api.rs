//! The wire types of the reaper's API, as the reaper writes them and the command line reads them.
//!
//! Times are RFC 3339, durations are seconds, unknown values are absent.

use serde::{Deserialize, Serialize};

use crate::identity::{JobId, JobUid, RunId};

mod access;
mod breaker;
mod explanation;
mod guards;
mod sinks;

pub use self::{
    access::AccessHealth,
    breaker::{BreakerDomain, BreakerHeld, BreakerReleased, BreakerStatus},
    explanation::{Explanation, Figures, Held, Outcome, PastPod, Pod, PolicyValue, Sink, Timer},
    guards::{BreakerState, Guards, HeldJob},
    sinks::{SinkList, SinkReport, SinkTest, SinkTestSample},
};

/// `GET /v1/jobs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobList {
    /// Sorted by namespace and name.
    pub jobs: Vec<JobLine>,
    /// The value of `after` for the next page; absent on the last page. A page may be empty and have a next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One Job of a [`JobList`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobLine {
    /// Its names and IDs.
    #[serde(flatten)]
    pub job: JobName,
    /// The current verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// When the verdict became what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The guard that holds a lost verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

/// The names and IDs of a Job, in Kubernetes and in the orchestrator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobName {
    /// `Job`, or `Pod` for a bare pod.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: JobUid,
    /// The orchestrator's run ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The orchestrator's job ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// The orchestrator's trace ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// The verdict on a Job or pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// One word: `alive`, `suspect`, `unseen`, `lost`, `finished`, …
    pub verdict: String,
    /// The reason of a loss, such as `NodeUnreachable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The row of the decision table that matched, such as `P8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    /// The text of that row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// The body of every response that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What went wrong.
    pub error: String,
    /// What to do about it.
    pub hint: String,
    /// The current leader, if it is known and is another process than the one that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
}
