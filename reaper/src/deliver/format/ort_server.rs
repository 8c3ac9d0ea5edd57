//! ORT Server's own messages to its orchestrator, in place of those of its job monitor.
//!
//! ```text
//!  outcome ──not a final failure──► NotWanted
//!     │
//!     ├──class of message: by reason in the settings, else by what is known of the worker's end
//!     ├──run ID, trace ID ──► properties runId, traceId
//!     ├──label ort-worker, name of the Job ──► endpoint
//!     └──job ID ──► <Endpoint>WorkerError with a sentence, or WorkerError
//! ```
//!
//! ORT Server adds an issue to the run for every `<Endpoint>WorkerError`, and sets the job to FAILED whatever its state was. Therefore
//! a Job is reported at most once: only by its final outcome, of which there is one, because its name follows from the UID of the Job
//! ([`OutcomeName::job_final`]). What remains is the delivery itself, which is at least once: where the acknowledgement of the broker
//! is lost, the same message is sent again.

mod endpoint;
mod sentence;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jobwarden_common::{
    names::{label, reason},
    notification::{OutcomeData, OutcomeKind},
};
use jobwarden_core::outcome::OutcomeName;
use serde::{Deserialize, Deserializer, de::Error as _};

use self::{
    endpoint::Endpoint,
    wire::{Body, body},
};
use super::super::message::{Message, Property, Unsent};

/// The content type of ORT Server's messages (`RabbitMqMessageConverter.kt`, `AzureServicebusMessageConverter.kt`).
const CONTENT_TYPE: &str = "application/json";

/// Verdicts after which the worker may have done its work and sent its result, unseen: its node may be cut off from the cluster and not
/// from the broker, or how it ended could not be read.
const END_UNKNOWN: [&str; 3] = [reason::NODE_UNREACHABLE, reason::OUTCOME_UNKNOWN, reason::PROCESS_GONE];

/// The settings of the format `ort-server`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OrtServer {
    /// The class of message by reason, such as `NodeUnreachable`, where it is not to be the usual one.
    #[serde(deserialize_with = "by_reason")]
    messages: BTreeMap<String, Class>,
}

/// The class of message that is sent for a final failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Class {
    /// `AnalyzerWorkerError` and the like, with a sentence that the user sees. It sets a job to FAILED even if it has finished. Where the
    /// job ID or the class of the endpoint is not known, `WorkerError` is sent.
    EndpointError,
    /// `WorkerError`. It leaves a job that has finished alone, and the user sees no sentence.
    WorkerError,
    /// No message.
    #[serde(rename = "none")]
    Nothing,
}

impl OrtServer {
    /// The message for an outcome of a Job with these labels.
    ///
    /// # Errors
    ///
    /// Returns why none is sent: the outcome is no final failure, or the Job is not known to be one of ORT Server's.
    pub fn message(
        &self,
        id: &OutcomeName,
        data: &OutcomeData,
        labels: &BTreeMap<String, String>,
    ) -> Result<Message, Unsent> {
        let class = self.class(data);
        if class == Class::Nothing {
            return Err(Unsent::NotWanted);
        }
        let run_id = data.run_id.as_ref().and_then(|id| number(id.as_str())).ok_or_else(missing_run_id)?;
        let name = endpoint_name(data, labels)?;
        let endpoint = Endpoint::by_name(name).filter(|_| class == Class::EndpointError);
        let job_id = data.job_id.as_ref().and_then(|id| number(id.as_str()));
        let text = match (endpoint, job_id) {
            (Some(Endpoint::Config), _) => {
                body(&Body::Config { ort_run_id: run_id, error_message: sentence::about(data, name) })
            }
            (Some(endpoint), Some(job_id)) => {
                body(&Body::Job { endpoint, job_id, error_message: sentence::about(data, name) })
            }
            _ => body(&Body::Worker { endpoint_name: name }),
        };
        Ok(Message {
            id: id.to_string(),
            content_type: CONTENT_TYPE,
            event: Vec::new(),
            properties: vec![
                ("traceId", Property::Text(data.trace_id.clone().unwrap_or_default())),
                ("runId", Property::Long(run_id)),
            ],
            body: text.into(),
        })
    }

    fn class(&self, data: &OutcomeData) -> Class {
        let is_failure = data.kind.is_final() && data.kind != OutcomeKind::Succeeded && data.coalesced.is_none();
        if !is_failure {
            return Class::Nothing;
        }
        let set = self.messages.get(&data.reason).copied();
        set.unwrap_or_else(|| usual_class(data))
    }
}

fn usual_class(data: &OutcomeData) -> Class {
    // Its controller can replace it. A bare pod has none.
    if data.kind == OutcomeKind::Deleted && !data.is_of_bare_pod() {
        return Class::Nothing;
    }
    let words = [Some(data.reason.as_str()), data.cause.reason.as_deref()];
    let is_unknown = words.into_iter().flatten().any(|word| END_UNKNOWN.contains(&word));
    if is_unknown || data.work_may_be_done { Class::WorkerError } else { Class::EndpointError }
}

/// The name of the endpoint: the label that ORT Server sets, else the name of the Job up to the first dash, as ORT Server's job monitor has
/// it. ORT Server fails the whole run for a name that it does not know, so a name that is only guessed has to be one that it knows.
fn endpoint_name<'a>(data: &'a OutcomeData, labels: &'a BTreeMap<String, String>) -> Result<&'a str, Unsent> {
    if let Some(name) = labels.get(label::ORT_WORKER).filter(|name| !name.is_empty()) {
        return Ok(name);
    }
    let guess = data.job_name.split('-').next().unwrap_or_default();
    Endpoint::by_name(guess).map(|_| guess).ok_or_else(|| Unsent::Impossible {
        reason: reason::UNKNOWN_ENDPOINT,
        message: format!(
            "The Job has no label {}, and its name does not begin with the name of a worker of ORT Server. Restrict the sink to \
             the Jobs of ORT Server, or set the label.",
            label::ORT_WORKER
        ),
    })
}

/// An ID of ORT Server: the decimal digits of a Kotlin `Long`.
fn number(id: &str) -> Option<i64> {
    id.parse().ok().filter(|_| id.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The ID itself is left out: a wrong rule may have read it from a variable that is secret.
fn missing_run_id() -> Unsent {
    Unsent::Impossible {
        reason: reason::MISSING_RUN_ID,
        message: "ORT Server cannot be notified, because the Job has no numeric run ID. Set the label run-id on it, and the identity preset \
                  ort-server or a rule that finds the run ID."
            .to_owned(),
    }
}

/// A reason that cannot exist would never match, so it is an error.
fn by_reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Class>, D::Error> {
    let messages = BTreeMap::<String, Class>::deserialize(deserializer)?;
    let is_reason = |key: &str| {
        key.starts_with(|first: char| first.is_ascii_uppercase())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    match messages.keys().find(|key| !is_reason(key)) {
        Some(key) => Err(D::Error::custom(format!("{key:?} is not a reason, which is a word such as NodeUnreachable"))),
        None => Ok(messages),
    }
}
