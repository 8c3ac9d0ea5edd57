//! The endpoints of ORT Server that run as Jobs.

/// An endpoint that has a message of its own for a failed worker (`OrchestratorMessage.kt`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// Reads the configuration of the run, before any job of the run exists in ORT Server's database.
    Config,
    /// Finds dependencies.
    Analyzer,
    /// Finds vulnerabilities.
    Advisor,
    /// Finds licences.
    Scanner,
    /// Applies the rules.
    Evaluator,
    /// Writes the reports.
    Reporter,
    /// Sends mails and comments.
    Notifier,
}

impl Endpoint {
    /// All endpoints.
    pub(super) const ALL: [Self; 7] =
        [Self::Config, Self::Analyzer, Self::Advisor, Self::Scanner, Self::Evaluator, Self::Reporter, Self::Notifier];

    /// The endpoint of this name. ORT Server compares case too.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.name() == name)
    }

    /// The name: `configPrefix` in ORT Server, value of the label `ort-worker` and beginning of the Job's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Analyzer => "analyzer",
            Self::Advisor => "advisor",
            Self::Scanner => "scanner",
            Self::Evaluator => "evaluator",
            Self::Reporter => "reporter",
            Self::Notifier => "notifier",
        }
    }

    /// The class of the message for a failed worker, without its package.
    pub(super) fn error_class(self) -> &'static str {
        match self {
            Self::Config => "ConfigWorkerError",
            Self::Analyzer => "AnalyzerWorkerError",
            Self::Advisor => "AdvisorWorkerError",
            Self::Scanner => "ScannerWorkerError",
            Self::Evaluator => "EvaluatorWorkerError",
            Self::Reporter => "ReporterWorkerError",
            Self::Notifier => "NotifierWorkerError",
        }
    }
}
