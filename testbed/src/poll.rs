//! Waiting for a condition of the cluster.

use std::time::{Duration, Instant};

use crate::error::{ClusterError, Result};

/// The time between two checks.
const INTERVAL: Duration = Duration::from_millis(100);

/// Checks again and again until the answer is true. An error counts as false; the last one is part of the timeout error.
///
/// `problem` says what is wrong while the answer is false, and `tail` gives the end of a log that may explain it.
pub(crate) async fn wait_until(
    problem: &str,
    timeout: Duration,
    tail: impl Fn() -> String,
    mut check: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    loop {
        let answer = check().await;
        if matches!(answer, Ok(true)) {
            return Ok(());
        }
        if start.elapsed() > timeout {
            let error = answer.err().map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(ClusterError::TimedOut { problem: format!("{problem}{error}"), waited: timeout, tail: tail() });
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
