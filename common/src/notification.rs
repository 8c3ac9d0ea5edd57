//! The notification that carries an outcome to the orchestrator, as `CloudEvents` 1.0 JSON.
//!
//! Times are RFC 3339 in UTC, as the API server writes them. An unknown field is absent, never guessed.

use serde::{Deserialize, Serialize};

pub use self::{
    cause::{Cause, CauseKind},
    coalesced::{Coalesced, CoalescedJob, CoalescedKind},
    kind::OutcomeKind,
    logs::{Logs, NoLogs},
};
use crate::identity::{JobId, JobUid, NodeName, PodUid, RunId};

mod cause;
mod coalesced;
mod kind;
mod logs;

/// The maximum size of a notification in bytes, so that brokers with small limits accept it.
pub const MAX_BYTES: usize = 64 * 1024;

/// The envelope of a notification: `CloudEvents` 1.0 in structured JSON mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CloudEvent {
    /// Always `1.0`.
    #[cfg_attr(feature = "schema", schemars(extend("const" = "1.0")))]
    pub specversion: String,
    /// The same for every delivery of the same outcome; receivers deduplicate by it.
    pub id: String,
    /// `/apis/batch/v1/namespaces/<namespace>/jobs/<name>`; for a bare pod `/api/v1/namespaces/<namespace>/pods/<name>`;
    /// for a coalesced outcome `/api/v1/namespaces/<namespace>`.
    pub source: String,
    /// `io.jobwarden.job.` and the kind.
    #[serde(rename = "type")]
    pub event_type: String,
    /// `<namespace>/<job>`; for a coalesced outcome `<namespace>`.
    pub subject: String,
    /// When the outcome was recorded.
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub time: String,
    /// Always `application/json`.
    #[cfg_attr(feature = "schema", schemars(extend("const" = "application/json")))]
    pub datacontenttype: String,
    /// The outcome itself.
    pub data: OutcomeData,
}

/// Everything known about an outcome: `data` of the event and the immutable body in the `JobOutcome` object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OutcomeData {
    /// The kind of outcome.
    pub kind: OutcomeKind,
    /// The Job's namespace.
    pub namespace: String,
    /// The Job's name; for a bare pod, the pod's name; empty for a coalesced outcome.
    pub job_name: String,
    /// The Job's UID; for a bare pod, the pod's UID.
    pub job_uid: JobUid,
    /// The orchestrator's run ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The orchestrator's job ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// The orchestrator's trace ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The pod: that of the attempt, or the one that decided the Job's outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// One CamelCase word: a reason of jobwarden or of Kubernetes.
    pub reason: String,
    /// The reason for people, in one or two sentences.
    pub message: String,
    /// Whether the worker may have done its work although the Job is not complete: each of its main containers ended with exit code 0.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub work_may_be_done: bool,
    /// Why the job ended, as far as the cluster shows.
    #[serde(default, skip_serializing_if = "Cause::is_empty")]
    pub cause: Cause,
    /// The row of the decision table that matched, such as `P8`, and its rule.
    pub decided_by: DecidedBy,
    /// The evidence at the time of the verdict: short statements by name, such as `beat: expired, last 21 s ago`.
    pub evidence: Vec<Fact>,
    /// Events with their times, oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// The resources the job used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The last log lines of the container that decided, or why there are none. Absent if jobwarden is not to read logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Logs>,
    /// What is reported together, if this is a coalesced outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coalesced: Option<Coalesced>,
}

impl OutcomeData {
    /// Whether this is the outcome of a bare pod, which takes the place of a Job and is its own attempt.
    pub fn is_of_bare_pod(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.pod_uid.as_str() == self.job_uid.as_str())
    }
}

/// One pod of a Job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The pod's UID: the ID of the attempt.
    pub pod_uid: PodUid,
    /// The pod's name.
    pub pod_name: String,
    /// The node it ran on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
}

/// The row of the decision table that matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DecidedBy {
    /// `J1`–`J6` or `P1`–`P10`.
    pub row: String,
    /// The rule of the row.
    pub rule: String,
}

/// One statement of the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Fact {
    /// The subject: `beat`, `agent`, `node`, `lease`, `pod`, `job`.
    pub of: String,
    /// The statement.
    pub is: String,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TimelineEntry {
    /// Time of the event, RFC 3339.
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub at: String,
    /// Description of the event.
    pub event: String,
}

/// The resources a job used: the largest values of all of its attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Highest sum of resident memory over the processes of the main containers, in bytes. A shared page counts once for each
    /// process, so the sum may exceed the memory used.
    pub peak_rss_bytes: u64,
    /// A lower bound of the peak memory in bytes: the largest resident set of any process.
    pub peak_lower_bytes: u64,
    /// The cgroup's own peak in bytes, including page cache, if readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_upper_bytes: Option<u64>,
    /// The memory limit of the main containers together, in bytes; absent if one of them has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// CPU time, user and system, in milliseconds.
    pub cpu_ms: u64,
    /// From the first start of a main container to the outcome, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
    /// Whether the peak is only a lower bound because the job was killed at its memory limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub censored: bool,
}
