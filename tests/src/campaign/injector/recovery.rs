//! What follows a fault: undoing it, and leaving its target alone.

use std::time::Duration;

use tokio::time::sleep;

use crate::campaign::state::Campaign;

/// How long a target is left alone after a fault.
pub(super) const REST: Duration = Duration::from_secs(15);
/// How long a node may take to become ready again.
const NODE_READY: Duration = Duration::from_mins(3);
/// How often this is waited for: the API server may be away in the meantime.
const NODE_READY_ATTEMPTS: usize = 3;
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

/// Waits until a repaired node is ready.
pub(super) async fn until_ready(campaign: &Campaign, node: &str) -> anyhow::Result<()> {
    let mut attempt = 1;
    loop {
        match campaign.environment.cluster.wait_for_node(node, true, NODE_READY).await {
            Err(_) if attempt < NODE_READY_ATTEMPTS => sleep(RETRY).await,
            ready => return Ok(ready?),
        }
        attempt += 1;
    }
}
