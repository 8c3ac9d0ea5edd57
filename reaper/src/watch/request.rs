//! How long a request of a watch may take, and why it fails.

use std::time::Duration;

use jobwarden_core::health::Failure;
use kube::core::Status;

/// How long the API server may take to respond, and how long a watch may outlast the time that it asked for before its connection
/// counts as dead.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// How long listing one page of objects may take.
pub(crate) const LIST_TIMEOUT: Duration = Duration::from_mins(1);

/// Why a watch has to restart.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    #[error("cannot list")]
    List(#[source] kube::Error),
    #[error("list timed out after {} s", LIST_TIMEOUT.as_secs())]
    ListTimeout,
    #[error("cannot watch")]
    Start(#[source] kube::Error),
    #[error("the watch was interrupted")]
    Broken(#[source] kube::Error),
    #[error("the API server ended the watch: {0}")]
    Ended(#[source] Box<Status>),
    #[error("the API server did not respond in time")]
    Silent,
    #[error("the list has no resourceVersion to watch from")]
    NoVersion,
}

impl WatchError {
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Silent | Self::ListTimeout => Failure::TimedOut,
            _ => Failure::Disconnected,
        }
    }

    /// Whether the resourceVersion is too old (410 Gone), so that everything has to be listed again.
    pub(super) fn is_expired(&self) -> bool {
        match self {
            Self::Start(kube::Error::Api(status)) | Self::Ended(status) => status.code == 410,
            _ => false,
        }
    }
}
