//! The heartbeat sidecar: reports every few seconds that its worker pod is alive.
//!
//! It runs beside every worker, so two rules come first: it never harms the job, and it uses almost no resources. The first
//! rule means that it exits on SIGTERM or SIGINT only, whatever fails, because the Job controller counts a sidecar's restarts
//! against the backoffLimit of `OnFailure` Jobs. The second rule means one thread, one kept-alive connection and memory
//! that does not grow.
//!
//! ```text
//! config ──► beat_loop ──► client ──► connection ──► reaper
//!                │           ├─ token   (read again for every beat)
//!                │           └─ trust   (CA bundles, current and candidate)
//!                ├─ schedule (time to the next beat)
//!                └─ log_throttle (one line a minute)
//! ```

mod beat_loop;
mod client;
mod config;
mod connection;
mod log;
mod log_throttle;
mod schedule;
mod token;
mod trust;

use std::{future::Future, io};

use config::Config;
use tokio::signal::unix::{SignalKind, signal};

pub use self::log::log_line;

/// Sends beats until SIGTERM or SIGINT. If the configuration is invalid, logs that once and idles until the signal.
///
/// # Errors
/// The kernel refused the event loop or the signal handlers.
pub fn run() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let outcome = runtime.block_on(async {
        let shutdown = shutdown_signal()?;
        match Config::from_env(|name| std::env::var(name).ok()) {
            Ok(config) => beat_loop::run(config, shutdown).await,
            Err(error) => {
                log_line(&format!("invalid configuration, this pod sends no heartbeats: {error}"));
                shutdown.await;
            }
        }
        Ok(())
    });
    // A DNS lookup in progress must not delay the exit; its thread ends with the process.
    runtime.shutdown_background();
    outcome
}

/// Completes on the first SIGTERM or SIGINT. The kernel gives the first process of a container no default handlers
/// (`pid_namespaces(7)`), so the sidecar installs its own.
fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
