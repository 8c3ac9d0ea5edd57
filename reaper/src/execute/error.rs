//! Why a step failed.

use jobwarden_common::identity::PodUid;
use jobwarden_core::{evidence::JobIdentity, outcome::OutcomeName, second_look::Contradiction};

use crate::outbox::shorten;

/// How much of an answer of the API server is kept, in bytes.
const MAX_REFUSAL_BYTES: usize = 512;

/// Why a step failed. The next reconcile decides whether the step is still needed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The request failed, or the API server rejected it.
    #[error("cannot {doing} {what}")]
    Api {
        /// The attempted operation, such as `delete`.
        doing: &'static str,
        /// The kind and name of the object.
        what: String,
        /// The cause.
        source: kube::Error,
    },
    /// Another client wrote the object at the same time.
    #[error("cannot {doing} {what}: conflict, it was modified concurrently")]
    Conflict {
        /// The attempted operation, such as `delete`.
        doing: &'static str,
        /// The kind and name of the object.
        what: String,
    },
    /// The namespace has more outcomes than its share: this one is recorded together with others, in a moment.
    #[error(
        "the outcome {0} waits to be recorded together with others of its namespace, which has more than its share"
    )]
    Waits(OutcomeName),
    /// The live object contradicts the plan.
    #[error("{what} has changed since the plan was made: {found}")]
    SecondLook {
        /// The kind and name of the object.
        what: String,
        /// How it contradicts the plan.
        found: Contradiction,
    },
}

impl ExecuteError {
    /// The error of `doing` something to `what`.
    pub(super) fn api(doing: &'static str, what: String, source: kube::Error) -> Self {
        match &source {
            kube::Error::Api(status) if status.is_conflict() || status.code == 409 => Self::Conflict { doing, what },
            _ => Self::Api { doing, what, source },
        }
    }

    /// What the API server answered, if it refused a write for good: a policy, a quota or a missing permission. To repeat the write is
    /// of no use until somebody has changed that.
    pub(super) fn refusal(&self) -> Option<String> {
        let Self::Api { doing, what, source: kube::Error::Api(status) } = self else { return None };
        // A policy may choose its code (`ValidatingAdmissionPolicy`, webhooks).
        let refuses = matches!(status.code, 400 | 403 | 405 | 413 | 422);
        let mut text = format!("cannot {doing} {what}: {}", status.message);
        shorten(&mut text, MAX_REFUSAL_BYTES);
        refuses.then_some(text)
    }

    /// The value of the metric label `result`.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Api { .. } if self.refusal().is_some() => "refused",
            Self::Api { .. } => "error",
            Self::Conflict { .. } | Self::SecondLook { .. } => "aborted",
            Self::Waits(_) => "waits",
        }
    }

    pub(super) fn log(&self, step: &str, job: &JobIdentity, pod: Option<&PodUid>) {
        let (name, namespace, error) = (&job.name, &job.namespace, self as &dyn std::error::Error);
        let pod = pod.map(tracing::field::display);
        match self {
            Self::Api { .. } => {
                tracing::warn!(step, job = %name, %namespace, pod, error, "step failed; retrying with backoff");
            }
            Self::Conflict { .. } | Self::SecondLook { .. } | Self::Waits(_) => {
                tracing::info!(step, job = %name, %namespace, pod, error, "step aborted; reconciling the Job again");
            }
        }
    }
}

/// Whether the object does not exist.
pub(super) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
