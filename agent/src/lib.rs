//! The node agent of jobwarden: observes, without privileges, which worker processes run on its node and what they use.
//!
//! ```text
//!  /proc ─► watch: sampler ─► view: ledger ─► reporter ─► reaper
//!                  ▲ cgroup                     ▲ endpoint
//!                  ▲ visibility
//! ```
//!
//! Two tasks share a [`view::View`]: one takes samples, the other reports. Neither waits for the other, so that an unreachable
//! reaper delays no sample, and a node with many processes delays no report.

pub mod cgroup;
pub mod endpoint;
pub mod ledger;
pub mod metrics;
pub mod reporter;
pub mod sampler;
pub mod view;
pub mod visibility;
pub mod watch;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use jobwarden_common::names::port;
use jobwarden_serve::{
    accept,
    admin::{self, AdminError, Readiness},
    logs::{LogArgs, LogError},
    scrape::{MetricsArgs, MetricsError},
    shutdown::{Shutdown, SignalError},
};
use prometheus_client::registry::Registry;

use crate::{
    endpoint::{EndpointArgs, SourceError},
    metrics::Metrics,
    reporter::Reporter,
    view::View,
    watch::{Watch, WatchError},
};

/// A report is blind once this many samples are missing.
const STALE_SAMPLES: u32 = 4;

/// Observes which worker processes run on its node and what they use, and reports this to jobwarden's reaper
///
/// It runs once per node, in a pod with hostPID and hostNetwork, as any user, without capabilities. A process belongs to the
/// pod that /proc/PID/cgroup names; only pods that the reaper lists are reported.
#[derive(Parser, Debug)]
#[command(name = "jobwarden-agent", version)]
pub struct Args {
    /// Proc file system of the node's PID namespace
    #[arg(long, env = "JOBWARDEN_PROC", default_value = "/proc", value_name = "DIR")]
    pub proc: PathBuf,

    /// How often to sample the processes of the node; between two samples only the high-water mark of a process shows a peak
    #[arg(long, env = "JOBWARDEN_SAMPLE_INTERVAL", default_value = "2s", value_parser = parse_interval, value_name = "DURATION")]
    pub sample_interval: Duration,

    /// Token that identifies this node to the reaper: bound to this pod, for the audience jobwarden-reaper
    #[arg(long, env = "JOBWARDEN_TOKEN_FILE", default_value = "/var/run/secrets/jobwarden/token", value_name = "FILE")]
    pub token_file: PathBuf,

    /// Where the reaper is
    #[command(flatten)]
    pub endpoint: EndpointArgs,

    /// Address that serves /livez and /readyz over plain HTTP, without authentication: on the loopback of the node, because only the kubelet
    /// needs it
    #[arg(long, env = "JOBWARDEN_ADMIN_ADDR", default_value_t = SocketAddr::from(([127, 0, 0, 1], port::AGENT_ADMIN)), value_name = "IP:PORT")]
    pub admin_addr: SocketAddr,

    /// The metrics port
    #[command(flatten)]
    pub metrics: MetricsArgs,

    /// Logs
    #[command(flatten)]
    pub log: LogArgs,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < Duration::from_millis(100) {
        return Err("must be at least 100ms".to_owned());
    }
    Ok(interval)
}

/// Why the agent exits with an error.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Logging cannot be set up.
    #[error(transparent)]
    Logs(#[from] LogError),
    /// Signal handlers cannot be installed.
    #[error(transparent)]
    Signals(#[from] SignalError),
    /// The admin port cannot be opened.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The metrics port cannot be opened.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The endpoint of the reaper cannot be read.
    #[error(transparent)]
    Endpoint(#[from] SourceError),
    /// Sampling ended unexpectedly.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

/// Samples and reports until SIGTERM.
pub async fn run(args: Args) -> Result<(), AgentError> {
    let Args { proc, sample_interval, token_file, endpoint, admin_addr, metrics: metrics_port, log } = args;
    log.init()?;
    let shutdown = Shutdown::on_signals()?;
    let (metrics, readiness, view) = (Metrics::default(), Readiness::new(), View::default());
    let sampling = readiness.condition("sampling");
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let probes = accept::Metrics::default();
    admin::serve(admin_addr, probes.clone(), readiness, shutdown.clone())?;
    metrics_port.serve(registry, &probes)?;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_nothing_is_served_to_the_network() {
        let args = Args::parse_from(["jobwarden-agent"]);
        assert!(args.admin_addr.ip().is_loopback());
        assert_eq!(args.metrics.metrics_addr, None);
    }
}
