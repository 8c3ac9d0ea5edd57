//! The JSON of ORT Server's messages.
//!
//! ORT Server reads them with kotlinx.serialization's default `Json` (`JsonSerializer.kt`): an unknown key is an error, and the class is
//! the value of `type`, with its package. What it cannot read it logs and drops, so nothing may be added here.

use serde::Serialize;

use super::endpoint::Endpoint;

/// The package of `OrchestratorMessage` (`model/src/commonMain/kotlin/orchestrator/OrchestratorMessage.kt`).
const PACKAGE: &str = "org.eclipse.apoapsis.ortserver.model.orchestrator";

/// A message.
pub(super) enum Body<'a> {
    /// The worker of a job failed.
    Job {
        /// Its endpoint; not `config`, which has no job.
        endpoint: Endpoint,
        /// ORT Server's ID of the job.
        job_id: i64,
        /// The sentence for the user.
        error_message: String,
    },
    /// The config worker failed.
    Config {
        /// ORT Server's ID of the run.
        ort_run_id: i64,
        /// The sentence for the user.
        error_message: String,
    },
    /// A worker of the run that the properties name failed.
    Worker {
        /// The name of its endpoint.
        endpoint_name: &'a str,
    },
}

/// The JSON of a message.
pub(super) fn body(body: &Body<'_>) -> String {
    let (class, fields) = match body {
        Body::Job { endpoint, job_id, error_message } => {
            (endpoint.error_class(), Fields::Job { job_id: *job_id, error_message })
        }
        Body::Config { ort_run_id, error_message } => {
            (Endpoint::Config.error_class(), Fields::Config { ort_run_id: *ort_run_id, error_message })
        }
        Body::Worker { endpoint_name } => ("WorkerError", Fields::Worker { endpoint_name }),
    };
    let message = Tagged { class: format!("{PACKAGE}.{class}"), fields };
    serde_json::to_string(&message).expect("strings and integers always serialize")
}

#[derive(Serialize)]
struct Tagged<'a> {
    #[serde(rename = "type")]
    class: String,
    #[serde(flatten)]
    fields: Fields<'a>,
}

#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Fields<'a> {
    Job { job_id: i64, error_message: &'a str },
    Config { ort_run_id: i64, error_message: &'a str },
    Worker { endpoint_name: &'a str },
}
