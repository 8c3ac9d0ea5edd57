//! Outcomes: verdicts that were recorded, as `JobOutcome` objects in jobwarden's own namespace.
//!
//! They are the outbox. The spec is the whole message and is frozen when it is made, the status says how far it has come
//! with each sink, and the name makes recording twice the same as recording once.

use jiff::Timestamp;
use jobwarden_common::{
    identity::{JobId, JobUid, PodUid, RunId},
    notification::{OutcomeData, OutcomeKind},
};
use jobwarden_core::outcome::OutcomeName;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What became of a Job or of one attempt: recorded once, delivered to every sink.
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
    doc = "What became of a Job or of one attempt, and how far the news has come.",
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
    "message": "an outcome is frozen when it is recorded"
}]))]
pub struct JobOutcomeSpec {
    /// What became of it.
    #[schemars(with = "String")]
    pub kind: OutcomeKind,
    /// The Job's namespace.
    pub namespace: String,
    /// The Job's name.
    pub job_name: String,
    /// The Job's UID.
    #[schemars(with = "String")]
    pub job_uid: JobUid,
    /// The pod this is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub pod_uid: Option<PodUid>,
    /// The orchestrator's run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub run_id: Option<RunId>,
    /// The orchestrator's job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub job_id: Option<JobId>,
    /// One word, CamelCase.
    pub reason: String,
    /// When it was recorded.
    #[schemars(schema_with = "date_time")]
    pub created_at: Timestamp,
    /// The whole message.
    #[schemars(schema_with = "any_object")]
    pub data: OutcomeData,
}

/// How far an outcome has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobOutcomeStatus {
    /// The states of all sinks in a line, for people.
    pub summary: String,
    /// One entry a sink that was configured when it was recorded.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub sinks: Vec<SinkStatus>,
}

/// How far an outcome has come with one sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SinkStatus {
    /// The sink's name in the configuration.
    pub name: String,
    /// Where it stands.
    pub state: SinkState,
    /// How often it was tried.
    pub attempts: u32,
    /// What went wrong the last time, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it was last tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "optional_date_time")]
    pub last_attempt_at: Option<Timestamp>,
    /// When the receiver took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "optional_date_time")]
    pub acknowledged_at: Option<Timestamp>,
}

/// Where the delivery to one sink stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SinkState {
    /// To be tried, for the first time or again.
    Pending,
    /// The receiver has it.
    Acknowledged,
    /// The receiver does not want it and said so (410 Gone).
    Refused,
    /// Given up.
    Dead,
}

impl SinkState {
    /// The word on the wire.
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
    /// Not tried yet.
    pub fn untried(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: SinkState::Pending,
            attempts: 0,
            last_error: None,
            last_attempt_at: None,
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

    /// Nothing will be tried any more.
    pub fn settled(&self) -> bool {
        self.sinks.iter().all(|sink| sink.state != SinkState::Pending)
    }
}

impl JobOutcome {
    /// The name as a newtype; empty for an object that has none, which the API server does not hand out.
    pub fn outcome_name(&self) -> OutcomeName {
        OutcomeName::from_object(self.metadata.name.as_deref().unwrap_or_default())
    }

    /// Nothing will be tried any more. Without a status it has not even begun.
    pub fn settled(&self) -> bool {
        self.status.as_ref().is_some_and(JobOutcomeStatus::settled)
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
