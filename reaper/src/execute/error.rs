//! Why a step could not be taken.

use jobwarden_common::identity::PodUid;
use jobwarden_core::{evidence::JobIdentity, second_look::Contradiction};

/// Why a step could not be taken. The next plan says whether it is still wanted.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The API server could not be asked, or refused.
    #[error("cannot {doing} {what}")]
    Api {
        /// What was being done.
        doing: &'static str,
        /// To what.
        what: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// Another client wrote the object at the same time.
    #[error("cannot {doing} {what}: conflict, it was modified concurrently")]
    Conflict {
        /// What was being done.
        doing: &'static str,
        /// To what.
        what: String,
    },
    /// The live objects do not bear the verdict out.
    #[error("{what} is no longer what the plan was made for: {found}")]
    SecondLook {
        /// The object.
        what: String,
        /// What it says.
        found: Contradiction,
    },
}

impl ExecuteError {
    /// An answer of the API server to `doing` something.
    pub(super) fn api(doing: &'static str, what: String, source: kube::Error) -> Self {
        match &source {
            kube::Error::Api(status) if status.is_conflict() || status.code == 409 => Self::Conflict { doing, what },
            _ => Self::Api { doing, what, source },
        }
    }

    /// The word on metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Api { .. } => "error",
            Self::Conflict { .. } | Self::SecondLook { .. } => "aborted",
        }
    }

    pub(super) fn log(&self, step: &str, job: &JobIdentity, pod: Option<&PodUid>) {
        let (name, namespace, error) = (&job.name, &job.namespace, self as &dyn std::error::Error);
        let pod = pod.map(tracing::field::display);
        match self {
            Self::Api { .. } => {
                tracing::warn!(step, job = %name, %namespace, pod, error, "step failed; retrying with backoff");
            }
            Self::Conflict { .. } | Self::SecondLook { .. } => {
                tracing::info!(step, job = %name, %namespace, pod, error, "step not taken; evaluating the Job again");
            }
        }
    }
}

/// Whether the API server says that there is no such object.
pub(super) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
