//! A JobOutcome as the command line reads it: what is absent or of another version is left out, and never lost by a write.

use jobwarden_common::notification::OutcomeData;
use kube::{ResourceExt as _, api::DynamicObject};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A recorded outcome.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// The object itself.
    pub(super) object: DynamicObject,
    /// What was recorded.
    pub(super) spec: Spec,
    /// The entries of `status.sinks`.
    pub(super) written: Vec<Delivery>,
}

/// The fields of the spec that are listed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    /// The kind of outcome.
    pub(super) kind: String,
    /// The Job's namespace.
    pub(super) namespace: String,
    /// The Job's name; empty for a coalesced outcome.
    pub(super) job_name: String,
    /// The orchestrator's run ID.
    pub(super) run_id: Option<String>,
    /// The reason in CamelCase.
    pub(super) reason: String,
    /// When the outcome was recorded, RFC 3339.
    pub(super) created_at: String,
    /// The sinks that were chosen when the outcome was recorded.
    pub(super) sinks: Vec<String>,
    /// The body of the notification.
    data: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    sinks: Vec<Delivery>,
}

/// The delivery to one sink: an entry of `status.sinks`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Delivery {
    /// The sink's name.
    #[serde(rename = "name")]
    pub(super) sink: String,
    /// The state.
    pub(super) state: State,
    /// The number of attempts.
    #[serde(default)]
    pub(super) attempts: u32,
    /// The error of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_error: Option<String>,
    /// When the last attempt was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_attempt_at: Option<String>,
    /// Since when the delivery is pending, if not since the outcome was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pending_since: Option<String>,
    /// When the receiver acknowledged the notification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) acknowledged_at: Option<String>,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub(super) other: Map<String, Value>,
}

/// The state of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum State {
    /// To be attempted, for the first time or again.
    Pending,
    /// The receiver acknowledged the notification.
    Acknowledged,
    /// The receiver refused the notification permanently.
    Refused,
    /// Given up.
    Dead,
    /// A state of a newer version.
    #[serde(untagged)]
    Other(String),
}

impl State {
    /// The name on the wire.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Pending => "pending",
            Self::Acknowledged => "acknowledged",
            Self::Refused => "refused",
            Self::Dead => "dead",
            Self::Other(state) => state,
        }
    }
}

impl Delivery {
    /// The delivery to a sink that was chosen, before its first attempt.
    pub(super) fn untried(sink: &str) -> Self {
        Self {
            sink: sink.to_owned(),
            state: State::Pending,
            attempts: 0,
            last_error: None,
            last_attempt_at: None,
            pending_since: None,
            acknowledged_at: None,
            other: Map::new(),
        }
    }
}

impl Outcome {
    /// Reads an object. An error means that a field has another type than in this version.
    pub(super) fn read(mut object: DynamicObject) -> Result<Self, serde_json::Error> {
        // kubectl hides them too: they are longer than the rest.
        object.metadata.managed_fields = None;
        let field = |name: &str| object.data.get(name).filter(|value| !value.is_null());
        let mut spec = field("spec").map_or_else(|| Ok(Spec::default()), Spec::deserialize)?;
        let Status { sinks: written } = field("status").map_or_else(|| Ok(Status::default()), Status::deserialize)?;
        if spec.created_at.is_empty() {
            spec.created_at =
                object.metadata.creation_timestamp.as_ref().map(|at| at.0.to_string()).unwrap_or_default();
        }
        Ok(Self { object, spec, written })
    }

    /// The object's name, which is the notification's ID.
    pub(super) fn name(&self) -> String {
        self.object.name_any()
    }

    /// The notification's data, unless a newer version wrote it.
    pub(super) fn data(&self) -> Option<OutcomeData> {
        OutcomeData::deserialize(&self.spec.data).ok()
    }

    /// The delivery to each sink: those that were chosen and are untried, then those with an entry.
    pub(super) fn deliveries(&self) -> Vec<Delivery> {
        deliveries(&self.spec.sinks, &self.written)
    }

    /// `namespace/job`; the namespace alone for an outcome of several Jobs.
    pub(super) fn subject(&self) -> String {
        let Spec { namespace, job_name, .. } = &self.spec;
        if job_name.is_empty() { namespace.clone() } else { format!("{namespace}/{job_name}") }
    }
}

/// The delivery to each sink of `chosen` and of `written`.
pub(super) fn deliveries(chosen: &[String], written: &[Delivery]) -> Vec<Delivery> {
    let untried = chosen.iter().filter(|name| !written.iter().any(|entry| entry.sink == **name));
    untried.map(|name| Delivery::untried(name)).chain(written.iter().cloned()).collect()
}
