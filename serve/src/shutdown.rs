//! When a process ends, and how long its servers drain.

use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Flags of the drain, which the module [`accept`](crate::accept) describes.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Shutdown")]
pub struct ShutdownArgs {
    /// After SIGTERM, keep accepting connections until none has arrived for this long: meanwhile every kube-proxy removes this
    /// pod from its Service
    #[arg(long, env = "JOBWARDEN_DRAIN_DELAY", default_value = "5s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub drain_delay: Duration,

    /// How much longer the whole drain may take: half of it for connections that keep arriving, the rest for requests in flight.
    /// Keep the sum of both durations below terminationGracePeriodSeconds
    #[arg(long, env = "JOBWARDEN_DRAIN_TIMEOUT", default_value = "20s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub drain_timeout: Duration,
}

/// The handler of SIGTERM and SIGINT could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot install signal handlers for SIGTERM and SIGINT")]
pub struct SignalError(#[from] std::io::Error);

/// The shutdown request, which every part of a process can wait for. It is never withdrawn. Clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// Requested by SIGTERM or SIGINT. Call this inside a tokio runtime, once per process.
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

    /// Requested by [`trigger`](Self::trigger) only: for tests, and for parts that have to end after the others.
    pub fn manual() -> Self {
        Self(CancellationToken::new())
    }

    /// Requests the shutdown.
    pub fn trigger(&self) {
        self.0.cancel();
    }

    /// Returns once the shutdown is requested.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// Whether the shutdown is requested.
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_shutdown_is_requested_from_every_clone() {
        let shutdown = Shutdown::manual();
        let other = shutdown.clone();
        assert!(!other.is_requested());
        shutdown.trigger();
        other.requested().await;
        assert!(other.is_requested());
    }
}
