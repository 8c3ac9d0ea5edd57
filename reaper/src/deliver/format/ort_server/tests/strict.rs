//! Reads messages as ORT Server does: by the class in `type`, and with an error for an unknown key (`OrchestratorMessage.kt`,
//! kotlinx.serialization's default `Json`).

use serde::Deserialize;

/// A message that ORT Server would read.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", deny_unknown_fields, rename_all_fields = "camelCase")]
#[allow(dead_code, reason = "what matters is that all of it is there")]
pub(super) enum Read {
    #[serde(
        rename = "org.eclipse.apoapsis.ortserver.model.orchestrator.AnalyzerWorkerError",
        alias = "org.eclipse.apoapsis.ortserver.model.orchestrator.AdvisorWorkerError",
        alias = "org.eclipse.apoapsis.ortserver.model.orchestrator.ScannerWorkerError",
        alias = "org.eclipse.apoapsis.ortserver.model.orchestrator.EvaluatorWorkerError",
        alias = "org.eclipse.apoapsis.ortserver.model.orchestrator.ReporterWorkerError",
        alias = "org.eclipse.apoapsis.ortserver.model.orchestrator.NotifierWorkerError"
    )]
    Job { job_id: i64, error_message: String },
    #[serde(rename = "org.eclipse.apoapsis.ortserver.model.orchestrator.ConfigWorkerError")]
    Config { ort_run_id: i64, error_message: String },
    #[serde(rename = "org.eclipse.apoapsis.ortserver.model.orchestrator.WorkerError")]
    Worker { endpoint_name: String },
}

impl Read {
    /// The sentence for the user.
    pub(super) fn sentence(&self) -> Option<&str> {
        match self {
            Self::Job { error_message, .. } | Self::Config { error_message, .. } => Some(error_message),
            Self::Worker { .. } => None,
        }
    }
}

/// The message in `body`.
pub(super) fn read(body: &[u8]) -> Result<Read, serde_json::Error> {
    serde_json::from_slice(body)
}
