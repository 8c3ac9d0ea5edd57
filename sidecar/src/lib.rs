//! The heartbeat sidecar: says every few seconds that its worker pod lives.
//!
//! It runs beside every worker, so two rules stand above all others: it never harms the job, and it costs next to
//! nothing. The first means that it exits on SIGTERM and never else, whatever is broken, because the Job controller
//! counts a sidecar's restarts against the backoffLimit of `OnFailure` Jobs. The second means one thread, one
//! kept-alive connection and memory that does not grow.
//!
//! ```text
//! config ──► heart ──► post ──► line ──► reaper
//!              │        ├─ token   (read again for every beat)
//!              ├─ pace  └─ trust   (CA bundles, old and new)
//!              └─ complaints (one line a minute)
//! ```

mod complaints;
mod config;
mod heart;
mod line;
mod pace;
mod post;
mod token;
mod trust;

use std::{
    future::Future,
    io::{self, Write as _},
};

use config::Config;
use tokio::signal::unix::{SignalKind, signal};

/// Beats until SIGTERM or SIGINT. With a configuration that cannot work it says so once and idles until then.
///
/// An error means that this kernel gives us no event loop or no signal handler.
pub fn run() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let outcome = runtime.block_on(async {
        let end = asked_to_end()?;
        match Config::from_env(|name| std::env::var(name).ok()) {
            Ok(config) => heart::beat(config, end).await,
            Err(error) => {
                report(&format!("{error}; this worker pod will not be heard"));
                end.await;
            }
        }
        Ok(())
    });
    // A name that is still being looked up must not hold up the exit; the end of main ends that thread as well.
    runtime.shutdown_background();
    outcome
}

/// Writes one line to stderr, where `kubectl logs` finds it. Nobody could be told of a failure to do so.
pub fn report(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Comes true with the first SIGTERM or SIGINT. As the first process of its container the sidecar must handle them
/// itself: the kernel gives such a process no default handlers (`pid_namespaces(7)`).
fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
