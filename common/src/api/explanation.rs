//! Everything the reaper knows about one Job.

use serde::{Deserialize, Serialize};

use super::{JobName, Verdict};
use crate::{
    identity::{NodeName, PodUid},
    notification::{Cause, Fact, TimelineEntry, Usage},
};

/// `GET /v1/jobs/{namespace}/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// When the explanation was made.
    pub at: String,
    /// The Job's names and IDs.
    pub job: JobName,
    /// The Job's progress, in words.
    pub state: String,
    /// The verdict on the Job.
    pub verdict: Verdict,
    /// When the verdict became what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The guard that holds a lost verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// The Job's pods, at most 500.
    pub pods: Vec<Pod>,
    /// How many more pods it has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_pods: usize,
    /// Whether messages that may hold log lines are left out, because the caller may not read logs in this namespace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub messages_withheld: bool,
    /// The last of the Job's pods whose object is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past: Option<PastPod>,
    /// The verdicts that will follow if no new evidence arrives and no guard holds, the next first.
    pub timers: Vec<Timer>,
    /// The Job's policy, and where each value comes from.
    pub policy: Vec<PolicyValue>,
    /// The outcomes recorded for the Job.
    pub outcomes: Vec<Outcome>,
    /// The resource usage of the Job's attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineEntry>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The guard that holds a lost verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// The guard: `warm-up`, `deaf`, `watch-down` or `breaker`.
    pub guard: String,
    /// The guard and why it holds, in words.
    pub why: String,
    /// For how long it will hold, where that is known.
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
    /// The verdict on the pod.
    pub verdict: Verdict,
    /// The evidence in words.
    pub evidence: Vec<Fact>,
    /// The evidence in figures.
    pub figures: Figures,
    /// Why the pod ended, if it has ended.
    #[serde(default, skip_serializing_if = "Cause::is_empty")]
    pub cause: Cause,
}

/// The evidence of a pod in figures. Ages are measured by the reaper's listening clock, which stands still while the reaper
/// receives no signals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// `Pending`, `Running`, `Succeeded` or `Failed`.
    pub phase: String,
    /// Time since the pod was first seen bound to its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_seconds: Option<u64>,
    /// For how long the pod has been terminating.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminating_seconds: Option<u64>,
    /// For how long only the start of the main containers has been outstanding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting_seconds: Option<u64>,
    /// The state in the last beat: `none`, `running` or `ending`.
    pub beat: String,
    /// Age of the last beat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beat_seconds: Option<u64>,
    /// The agent's last report: `none`, `alive`, `gone` or `blind`.
    pub agent: String,
    /// Age of that report; for `gone`, since when it is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_seconds: Option<u64>,
    /// State of the pod's node in the API server: `ready`, `not-ready`, `out-of-service` or `deleted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Time since the node's Lease last changed.
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
    /// The node that it ran on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// Why it ended, as far as that was observed.
    #[serde(default, skip_serializing_if = "Cause::is_empty")]
    pub cause: Cause,
}

/// A verdict that will follow if no new evidence arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timer {
    /// Seconds until then, by the listening clock.
    pub in_seconds: u64,
    /// The pod concerned; absent if it is the Job itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The verdict at that time.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// One value of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyValue {
    /// Its name, such as `lost-after`.
    pub name: String,
    /// Its value, as written in an annotation.
    pub value: String,
    /// The layer that it comes from, in words.
    pub origin: String,
}

/// A recorded outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The name of its `JobOutcome` object.
    pub name: String,
    /// When it was recorded.
    pub recorded_at: String,
    /// Its delivery to each sink.
    pub sinks: Vec<Sink>,
}

/// The delivery of an outcome to one sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sink {
    /// The sink's name in the configuration.
    pub name: String,
    /// `pending`, `acknowledged`, `refused` or `dead`.
    pub state: String,
    /// Number of delivery attempts.
    pub attempts: u32,
    /// The error of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}
