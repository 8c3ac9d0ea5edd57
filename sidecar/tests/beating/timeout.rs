//! A deadline for every wait, so that a test that hangs fails.

use std::{future::Future, time::Duration};

/// Waits for `event`, which must come within 30 s.
pub(crate) async fn with_timeout<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), event).await.expect("the event comes within 30 s")
}
