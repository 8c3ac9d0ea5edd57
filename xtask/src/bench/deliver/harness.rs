//! The cluster and the programs of the benchmark.

use std::path::PathBuf;

use anyhow::ensure;
use jobwarden_testbed::progress;
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep};

use super::{outcomes::Outcomes, sinks};
use crate::bench::{environment::BenchEnvironment, server::Server};

/// How long the reaper may take for anything but the delivery of a large number of outcomes.
pub(super) const TIMEOUT: Duration = Duration::from_mins(3);
/// The time between two looks at the reaper's metrics.
pub(super) const POLL: Duration = Duration::from_millis(50);

/// The cluster, the program that is measured and the one that gives it something to do.
pub(super) struct Bench {
    pub(super) environment: BenchEnvironment,
    pub(super) reaper: PathBuf,
    pub(super) outcomes: Outcomes,
}

impl Bench {
    /// Starts the reaper with these sinks, and waits until it leads.
    pub(super) async fn reaper(&self, sinks: &[Value]) -> anyhow::Result<Server> {
        let server = Server::start(&self.environment, &self.reaper, Some(&sinks::config(sinks))).await?;
        until(&server, "leads", "jobwarden_leader", "", |leads| leads > 0.0).await?;
        Ok(server)
    }

    /// Ends the reaper and deletes all outcomes.
    pub(super) async fn clear(&mut self, server: Server) -> anyhow::Result<()> {
        let _step = progress::step("deleting the outcomes");
        server.stop().await?;
        self.outcomes.clear()
    }
}

/// Waits until the sum of a metric satisfies `wanted`.
pub(super) async fn until(
    server: &Server,
    state: &str,
    metric: &str,
    labels: &str,
    wanted: impl Fn(f64) -> bool,
) -> anyhow::Result<()> {
    let give_up = Instant::now() + TIMEOUT;
    loop {
        let value = server.metric(metric, labels).await?;
        if wanted(value) {
            return Ok(());
        }
        ensure!(
            Instant::now() < give_up,
            "not within {TIMEOUT:?}: the reaper {state}; {metric}{{{labels}}} is {value}"
        );
        sleep(POLL).await;
    }
}
