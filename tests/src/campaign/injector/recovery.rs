//! What follows a fault: undoing it, and leaving its target alone.

use std::time::Duration;

use tokio::time::sleep;

/// How long a target is left alone after a fault.
pub(super) const REST: Duration = Duration::from_secs(15);
/// How long a node may take to become ready again.
pub(super) const NODE_READY: Duration = Duration::from_mins(3);
/// The time between two attempts.
const RETRY: Duration = Duration::from_secs(1);

/// Repeats what undoes a fault until it succeeds: the API server may be down.
pub(super) async fn persist<T>(mut undo: impl AsyncFnMut() -> anyhow::Result<T>) -> T {
    loop {
        match undo().await {
            Ok(done) => return done,
            Err(_) => sleep(RETRY).await,
        }
    }
}
