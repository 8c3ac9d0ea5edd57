//! The custom resource `JobOutcome`: recorded verdicts, as objects in jobwarden's own namespace.
//!
//! These objects are the outbox. The spec is the whole notification and who receives it, and is immutable. The status holds an entry for a
//! sink once there is something to say about its delivery. The name identifies the outcome, so that recording it twice creates one object.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jobwarden_common::{
    identity::{JobId, JobUid, PodUid, RunId},
    notification::{OutcomeData, OutcomeKind},
};
use jobwarden_core::outcome::OutcomeName;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The outcome of a Job or of one attempt. Immutable.
#[allow(clippy::duplicated_attributes, reason = "two columns may have the same type")]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "jobwarden.io",
    version = "v1alpha1",
    kind = "JobOutcome",
    plural = "joboutcomes",
    shortname = "jo",
    namespaced,
    status = "JobOutcomeStatus",
    derive = "PartialEq",
    doc = "The outcome of a Job or of one attempt, and its delivery status.",
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.kind"),
    printcolumn(name = "In", type_ = "string", json_path = ".spec.namespace", description = "the Job's namespace"),
    printcolumn(name = "Job", type_ = "string", json_path = ".spec.jobName"),
    printcolumn(name = "Run", type_ = "string", json_path = ".spec.runId"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason"),
    printcolumn(name = "Sinks", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self == oldSelf",
    "message": "the spec of a JobOutcome is immutable"
}]))]
pub struct JobOutcomeSpec {
    /// The kind of outcome.
    #[schemars(with = "String")]
    pub kind: OutcomeKind,
    /// The Job's namespace.
    pub namespace: String,
    /// The Job's name.
    pub job_name: String,
    /// The Job's UID.
    #[schemars(with = "String")]
    pub job_uid: JobUid,
    /// The UID of the pod, if the outcome is about one pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub pod_uid: Option<PodUid>,
    /// The orchestrator's run ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub run_id: Option<RunId>,
    /// The orchestrator's job ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub job_id: Option<JobId>,
    /// The reason in CamelCase.
    pub reason: String,
    /// When the outcome was recorded.
    #[schemars(schema_with = "date_time")]
    pub created_at: Timestamp,
    /// The body of the notification.
    #[schemars(schema_with = "any_object")]
    pub data: OutcomeData,
    /// The names of the sinks whose filters matched when the outcome was recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<String>,
    /// The labels of the Job that the formats of these sinks use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Who receives an outcome, as decided when it is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipients {
    /// The names of the sinks.
    pub sinks: Vec<String>,
    /// The labels of the Job that the formats of these sinks use.
    pub labels: BTreeMap<String, String>,
}

/// The delivery status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobOutcomeStatus {
    /// The states of all sinks in one line, for display.
    pub summary: String,
    /// One entry for each sink that there is something to say about.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub sinks: Vec<SinkStatus>,
}

/// The delivery status for one sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SinkStatus {
    /// The sink's name in the configuration.
    pub name: String,
    /// The delivery state.
    pub state: SinkState,
    /// The number of delivery attempts.
    pub attempts: u32,
    /// The error of the last attempt, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The time of the last delivery attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "optional_date_time")]
    pub last_attempt_at: Option<Timestamp>,
    /// Since when the delivery is pending, if not since the outcome was recorded: it is a dead letter of another sink, or is delivered again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "optional_date_time")]
    pub pending_since: Option<Timestamp>,
    /// When the receiver acknowledged the notification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "optional_date_time")]
    pub acknowledged_at: Option<Timestamp>,
}

/// The state of the delivery to one sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SinkState {
    /// To be attempted, for the first time or again.
    Pending,
    /// The receiver acknowledged the notification.
    Acknowledged,
    /// The receiver refused the notification permanently (410 Gone).
    Refused,
    /// The delivery was given up: the outcome was as old as `giveUpAfter`, or can never be sent.
    Dead,
}

impl SinkState {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Acknowledged => "acknowledged",
            Self::Refused => "refused",
            Self::Dead => "dead",
        }
    }
}

impl SinkStatus {
    /// The status before the first attempt.
    pub fn untried(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: SinkState::Pending,
            attempts: 0,
            last_error: None,
            last_attempt_at: None,
            pending_since: None,
            acknowledged_at: None,
        }
    }
}

impl JobOutcomeStatus {
    /// The status of these sinks.
    pub fn of(sinks: Vec<SinkStatus>) -> Self {
        let states: Vec<_> = sinks.iter().map(|sink| format!("{} {}", sink.name, sink.state.as_str())).collect();
        let summary = if states.is_empty() { "none".to_owned() } else { states.join(", ") };
        Self { summary, sinks }
    }
}

impl JobOutcome {
    /// The name as a newtype; empty for an object without a name, which the API server never returns.
    pub fn outcome_name(&self) -> OutcomeName {
        OutcomeName::from_object(self.metadata.name.as_deref().unwrap_or_default())
    }

    /// The delivery status for each sink: what is written, and for the other recipients the status before the first attempt.
    pub fn sinks(&self) -> Vec<SinkStatus> {
        let written = self.status.iter().flat_map(|status| &status.sinks).cloned();
        let is_written =
            |name: &String| self.status.iter().flat_map(|status| &status.sinks).any(|sink| sink.name == *name);
        let untried = self.spec.sinks.iter().filter(|name| !is_written(name)).map(|name| SinkStatus::untried(name));
        untried.chain(written).collect()
    }
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "The notification's data, as the sinks receive it.",
        "x-kubernetes-preserve-unknown-fields": true
    })
}

fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

fn optional_date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time", "nullable": true })
}

#[cfg(test)]
pub(crate) mod tests;
