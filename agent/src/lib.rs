//! The node agent of jobwarden: sees, without privileges, which worker processes of its node live and what they use.
//!
//! ```text
//!  /proc ─► sampler ─► ledger ─► reporter ─► reaper
//!             ▲ cgroup   what is    ▲ endpoint, connection
//!             ▲ sight    remembered
//! ```
//!
//! Two tasks share a [`view::View`]: one takes samples, the other reports. Neither waits for the other, so that a reaper
//! that is away costs no sample, and a node with many processes no report.

pub mod cgroup;
pub mod connection;
pub mod endpoint;
pub mod ledger;
pub mod metrics;
pub mod reporter;
pub mod sampler;
pub mod sight;
pub mod view;
pub mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Parser;
use jobwarden_common::names::port;
use jobwarden_serve::{
    admin::{self, AdminArgs, AdminError, Readiness},
    logs::LogArgs,
    shutdown::{Shutdown, SignalError},
};
use prometheus_client::registry::Registry;

use crate::{
    endpoint::{EndpointArgs, EndpointError},
    metrics::Metrics,
    reporter::Reporter,
    view::View,
    watch::{Watch, WatchError},
};

/// A report says that it is blind once so many samples are missing.
const STALE_SAMPLES: u32 = 4;

/// Sees which worker processes of its node live and what they use, and reports it to jobwarden's reaper.
///
/// It runs once a node, in a pod with hostPID and hostNetwork, as any user, without capabilities. A process belongs to the
/// pod that /proc/PID/cgroup names; only pods that the reaper has asked for are reported.
#[derive(Parser, Debug)]
#[command(name = "jobwarden-agent", version)]
pub struct Args {
    /// The proc file system of the node's PID namespace
    #[arg(long, env = "JOBWARDEN_PROC", default_value = "/proc", value_name = "DIR")]
    pub proc: PathBuf,

    /// How often to look at the node's processes; a peak between two looks is seen only in a process's own high-water mark
    #[arg(long, env = "JOBWARDEN_SAMPLE_INTERVAL", default_value = "2s", value_parser = interval, value_name = "DURATION")]
    pub sample_interval: Duration,

    /// The token that tells the reaper which node this is: bound to this pod, for the audience jobwarden-reaper
    #[arg(long, env = "JOBWARDEN_TOKEN_FILE", default_value = "/var/run/secrets/jobwarden/token", value_name = "FILE")]
    pub token_file: PathBuf,

    /// Where the reaper is
    #[command(flatten)]
    pub endpoint: EndpointArgs,

    /// The admin port
    #[command(flatten)]
    pub admin: AdminArgs<{ port::AGENT_ADMIN }>,

    /// Logs
    #[command(flatten)]
    pub log: LogArgs,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < Duration::from_millis(100) {
        return Err("give at least 100ms".to_owned());
    }
    Ok(interval)
}

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Without signals it could not be ended cleanly.
    #[error(transparent)]
    Signals(#[from] SignalError),
    /// Without the admin port it could not be probed.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// It has nowhere to ask for the reaper.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The task that samples is dead.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

/// Watches and reports until SIGTERM.
pub async fn run(args: Args) -> Result<(), AgentError> {
    let Args { proc, sample_interval, token_file, endpoint, admin, log: _ } = args;
    let shutdown = Shutdown::on_signals()?;
    let (metrics, readiness, view) = (Metrics::default(), Readiness::new(), View::default());
    let sampling = readiness.condition("sampling");
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    admin::serve(admin.admin_addr, Arc::new(registry), readiness, shutdown.clone()).await?;

    let reporter = Reporter {
        view: view.clone(),
        source: endpoint.source().await?,
        token_file,
        stale_after: sample_interval * STALE_SAMPLES,
        metrics: metrics.clone(),
    };
    let watch = Watch { proc, interval: sample_interval, view, metrics, sampling };
    let (watched, ()) = tokio::join!(watch.run(shutdown.clone()), reporter.run(shutdown));
    Ok(watched?)
}
