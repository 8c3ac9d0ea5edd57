//! The wire types of the API. Times are RFC 3339, durations are seconds; what is not known is absent.

use jobwarden_common::{
    identity::{JobId, JobUid, NodeName, PodUid, RunId},
    notification::{Cause, Fact, TimelineEntry, Usage},
};
use serde::{Deserialize, Serialize};

/// `GET /v1/jobs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobList {
    /// By namespace and name.
    pub jobs: Vec<JobLine>,
    /// How many there are that were asked for, on all pages.
    pub total: usize,
    /// Give this as `after` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One Job in a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobLine {
    /// Who it is.
    #[serde(flatten)]
    pub job: JobName,
    /// What is concluded.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The guard that holds a lost verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

/// Who a Job is, to Kubernetes and to the orchestrator.
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
    /// The orchestrator's run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The orchestrator's job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// The orchestrator's trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// What is concluded of a Job or pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// In a word: `alive`, `suspect`, `unseen`, `lost`, `finished`, …
    pub verdict: String,
    /// The reason of a loss, such as `NodeUnreachable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The row of the decision table that matched, such as `P8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    /// What that row says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// `GET /v1/jobs/{namespace}/{name}`: everything about one Job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// When this was so.
    pub at: String,
    /// Who it is.
    pub job: JobName,
    /// How far it has come, in words.
    pub state: String,
    /// What is concluded.
    pub verdict: Verdict,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What holds a lost verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// The last of its pods whose object is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past: Option<PastPod>,
    /// What time alone will change, the next first: if nothing more is heard and no guard holds.
    pub timers: Vec<Timer>,
    /// How it is judged, and why so.
    pub policy: Vec<PolicyValue>,
    /// What was recorded of it.
    pub outcomes: Vec<Outcome>,
    /// What its attempts used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineEntry>,
}

/// What holds a lost verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// The guard: `warm-up`, `deaf`, `watch-down` or `breaker`.
    pub guard: String,
    /// The same for people.
    pub why: String,
    /// For how long, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
}

/// One pod of a Job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its UID: the ID of the attempt.
    pub uid: PodUid,
    /// Its node, once it is bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// What is concluded.
    pub verdict: Verdict,
    /// The evidence in words.
    pub evidence: Vec<Fact>,
    /// The evidence in figures.
    pub figures: Figures,
    /// Why it ended, if it has.
    #[serde(default, skip_serializing_if = "Cause::is_empty")]
    pub cause: Cause,
}

/// The evidence of a pod in figures. Ages are of the reaper's listening clock, which stands still while it is deaf.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// `Pending`, `Running`, `Succeeded` or `Failed`.
    pub phase: String,
    /// How long ago it was first seen bound to its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_seconds: Option<u64>,
    /// For how long it has been terminating.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminating_seconds: Option<u64>,
    /// For how long nothing has been awaited but the start of its main containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting_seconds: Option<u64>,
    /// `none`, `running` or `ending`: what the last beat said.
    pub beat: String,
    /// How long ago it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beat_seconds: Option<u64>,
    /// `none`, `alive`, `gone` or `blind`: what the agent said last.
    pub agent: String,
    /// How long ago; of `gone`, since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_seconds: Option<u64>,
    /// `ready`, `not-ready`, `out-of-service` or `deleted`: its node by the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// How long ago the node's Lease last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_seconds: Option<u64>,
}

/// A pod whose object is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastPod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: PodUid,
    /// Where it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// Why it ended, as far as that was seen.
    #[serde(default, skip_serializing_if = "Cause::is_empty")]
    pub cause: Cause,
}

/// What time alone will change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timer {
    /// In how many seconds, by the listening clock.
    pub in_seconds: u64,
    /// The pod that it is about; none if it is the Job itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// What will then be concluded.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// One value of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyValue {
    /// Its name, such as `lost-after`.
    pub name: String,
    /// What it is, as it is written in an annotation.
    pub value: String,
    /// Which layer it comes from, in words.
    pub origin: String,
}

/// An outcome that was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The name of its `JobOutcome` object.
    pub name: String,
    /// When it was recorded.
    pub recorded_at: String,
    /// How far it has come with each sink.
    pub sinks: Vec<Sink>,
}

/// How far an outcome has come with one sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sink {
    /// The sink's name in the configuration.
    pub name: String,
    /// `pending`, `acknowledged`, `refused` or `dead`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// What went wrong the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// `GET /v1/guards`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Guards {
    /// Whether the reaper hears what there is to hear: `open`, `deaf` or `watch-down`.
    pub signals: String,
    /// For how long this leader has listened.
    pub listening_seconds: u64,
    /// The breaker.
    pub breaker: BreakerState,
    /// The Jobs with a lost verdict that a guard holds.
    pub held: Vec<HeldJob>,
}

/// How far the breaker is from tripping.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerState {
    /// Jobs that are lost or about to be.
    pub lost: usize,
    /// Of how many open ones.
    pub of: usize,
    /// Whether it holds a lost verdict now.
    pub holds: bool,
}

/// A Job with a lost verdict that a guard holds.
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
