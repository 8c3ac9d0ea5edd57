//! When a process ends, and how long it takes its leave.

use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Flags that say how long a server takes its leave.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Shutdown")]
pub struct ShutdownArgs {
    /// How long to keep accepting connections after SIGTERM, while the cluster learns that this pod is going
    #[arg(long, env = "JOBWARDEN_DRAIN_DELAY", default_value = "5s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub drain_delay: Duration,

    /// How long requests in flight may take after that; keep the sum below terminationGracePeriodSeconds
    #[arg(long, env = "JOBWARDEN_DRAIN_TIMEOUT", default_value = "20s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub drain_timeout: Duration,
}

/// The handler of SIGTERM and SIGINT could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for SIGTERM and SIGINT")]
pub struct SignalError(#[from] std::io::Error);

/// The request to end, which every part of a process can wait for. It is made once and never withdrawn.
#[derive(Clone, Debug)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// Requested by SIGTERM or SIGINT. Call it inside a tokio runtime, once a process.
    pub fn on_signals() -> Result<Self, SignalError> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = Self::manual();
        let requested = shutdown.clone();
        tokio::spawn(async move {
            let signal = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal, "shutting down");
            requested.trigger();
        });
        Ok(shutdown)
    }

    /// Requested by [`trigger`](Self::trigger) only: for tests, and for a part that has to end after the others.
    pub fn manual() -> Self {
        Self(CancellationToken::new())
    }

    /// Requests the end.
    pub fn trigger(&self) {
        self.0.cancel();
    }

    /// Returns once the end has been requested.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// Whether the end has been requested.
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_hears_of_the_end() {
        let shutdown = Shutdown::manual();
        let other = shutdown.clone();
        assert!(!other.is_requested());
        shutdown.trigger();
        other.requested().await;
        assert!(other.is_requested());
    }
}
