//! Results of single requests. Each stands for itself, so that a missing permission does not hide the rest.

use jobwarden_serve::logs::with_causes;

/// What a request returned, or why it failed.
pub(super) type Lookup<T> = Result<T, LookupError>;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LookupError {
    /// The caller lacks a permission.
    #[error("{0}")]
    Forbidden(String),
    /// Any other error.
    #[error("{0}")]
    Failed(String),
}

impl From<kube::Error> for LookupError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 403 => Self::Forbidden(status.message),
            kube::Error::Api(status) => Self::Failed(status.message),
            other => Self::Failed(with_causes(&other)),
        }
    }
}
