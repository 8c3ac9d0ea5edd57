//! The notification: what the orchestrator hears of an outcome, as `CloudEvents` 1.0 JSON.
//!
//! Times are RFC 3339 in UTC, as the API server writes them. A field that is not known is absent, never made up.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::cause::{Cause, CauseKind};
use crate::identity::{JobId, JobUid, NodeName, PodUid, RunId};

mod cause;

/// A notification may not be larger than this many bytes, so that brokers with small limits carry it.
pub const MAX_BYTES: usize = 64 * 1024;

/// The envelope of a notification: `CloudEvents` 1.0 in structured JSON mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CloudEvent {
    /// Always `1.0`.
    pub specversion: String,
    /// The same for every delivery of the same outcome: what a receiver deduplicates by.
    pub id: String,
    /// `/apis/batch/v1/namespaces/<namespace>/jobs/<name>`; of a bare pod `/api/v1/namespaces/<namespace>/pods/<name>`.
    pub source: String,
    /// See [`OutcomeKind::event_type`].
    #[serde(rename = "type")]
    pub event_type: String,
    /// `<namespace>/<job>`.
    pub subject: String,
    /// When the outcome was made.
    pub time: String,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// The outcome itself.
    pub data: OutcomeData,
}

/// What became of a Job or of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// The Job is complete.
    Succeeded,
    /// The Job failed by Kubernetes' own account.
    Failed,
    /// The Job is lost: jobwarden failed it, or it was deleted with nobody left to replace it.
    Lost,
    /// The Job was deleted before it had finished, and a controller that owns it knows; or a bare pod was.
    Deleted,
    /// Nothing is decided, but somebody should look.
    Suspect,
    /// One attempt is lost; the Job goes on by its own rules.
    AttemptFailed,
}

impl OutcomeKind {
    /// The word used on the wire and in object names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Deleted => "deleted",
            Self::Suspect => "suspect",
            Self::AttemptFailed => "attempt_failed",
        }
    }

    /// The `type` of the event.
    pub fn event_type(self) -> String {
        format!("io.jobwarden.job.{}", self.as_str())
    }

    /// Whether nothing will follow for this Job.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Lost | Self::Deleted)
    }
}

impl fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything known of an outcome: `data` of the event and the frozen body in the `JobOutcome` object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomeData {
    /// What became of it.
    pub kind: OutcomeKind,
    /// The Job's namespace.
    pub namespace: String,
    /// The Job's name; a bare pod has its own here.
    pub job_name: String,
    /// The Job's UID; a bare pod has its own here.
    pub job_uid: JobUid,
    /// The orchestrator's run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The orchestrator's job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// The orchestrator's trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The pod this is about: of an attempt, or the one that decided over the Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// One word, CamelCase; see [`crate::names::reason`] for ours, Kubernetes' own else.
    pub reason: String,
    /// The same for people, in a sentence or two.
    pub message: String,
    /// Why, as far as the cluster can tell.
    #[serde(default, skip_serializing_if = "Cause::is_empty")]
    pub cause: Cause,
    /// The row of the decision table that matched, such as `P8`, and what it is about.
    pub decided_by: DecidedBy,
    /// What had been seen when it was decided: short statements by name, such as `beat: expired, last 21 s ago`.
    pub evidence: Vec<Fact>,
    /// What happened when, oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// The resources the job used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl OutcomeData {
    /// Whether this is of a pod without a Job: it stands in the place of one, and is its own attempt.
    pub fn is_of_bare_pod(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.pod_uid.as_str() == self.job_uid.as_str())
    }
}

/// One pod of a Job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The pod's UID: the ID of the attempt.
    pub pod_uid: PodUid,
    /// The pod's name.
    pub pod_name: String,
    /// Where it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
}

/// The row of the decision table that matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecidedBy {
    /// `J1`–`J6` or `P1`–`P10`.
    pub row: String,
    /// What the row says.
    pub rule: String,
}

/// One thing that was known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Of what: `beat`, `agent`, `node`, `lease`, `pod`, `job`.
    pub of: String,
    /// What was known of it.
    pub is: String,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When, RFC 3339.
    pub at: String,
    /// What.
    pub event: String,
}

/// The resources a job used; the largest figures of any of its attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Highest sum of resident memory over the processes of the main containers, in bytes. Shared pages count once a
    /// process, so this may exceed what was used.
    pub peak_rss_bytes: u64,
    /// What was certainly used, in bytes: the largest resident set any one process ever had.
    pub peak_lower_bytes: u64,
    /// The cgroup's own peak in bytes, page cache included, where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_upper_bytes: Option<u64>,
    /// CPU time, user and system, in milliseconds.
    pub cpu_ms: u64,
    /// From the first start of a main container to the outcome, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
    /// Whether the peak is only a lower bound, for the job was killed at its memory limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub censored: bool,
}
