//! Why an operation on outcomes has no result.

use super::outbox::OutboxError;
use crate::{cluster::ClusterError, output::OutputError};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutcomesError {
    /// The kubeconfig.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The objects.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// Not everything that was asked for was done.
    #[error("{0}")]
    Incomplete(String),
    /// Standard output.
    #[error(transparent)]
    Output(#[from] OutputError),
}
