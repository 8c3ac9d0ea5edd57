//! The delivery of notifications, from recorded outcomes to real receivers, at a real API server.
//!
//! First the installed reapers handle real Jobs, for the writes that each costs. Then the release binary runs as one process on loopback
//! inside the test cluster's network, with the rights of the reaper's service account, as in the benchmark of the reaper. Another process
//! records outcomes as the reaper does, of Jobs that do not exist, and receives notifications over HTTP: real Jobs in such numbers would take
//! hours. RabbitMQ is Debian's, in the same network.

mod broker;
mod dead_sink;
mod etcd;
mod growth;
mod jobs;
mod outcomes;
mod sinks;
mod throughput;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, ensure};
use jobwarden_testbed::progress;
use jobwarden_tests::install;
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep};

use self::{broker::Broker, outcomes::Outcomes};
use super::{environment::BenchEnvironment, server::Server};
use crate::image;

/// The name of the benchmark.
pub(super) const NAME: &str = "deliver";

/// The number of outcomes in the last measurement, unless the command line says otherwise. The other numbers are for that many.
pub(super) const OUTCOMES: usize = 100_000;

/// How long the reaper may take for anything but the delivery of a large number of outcomes.
const TIMEOUT: Duration = Duration::from_mins(3);
/// The time between two looks at the reaper's metrics.
const POLL: Duration = Duration::from_millis(50);

/// How many of each there are.
#[derive(Clone, Copy)]
struct Sizes {
    /// Real Jobs of each kind.
    jobs: usize,
    /// Outcomes that are recorded before the reaper starts.
    backlog: usize,
    /// Outcomes that are pending for the dead sink.
    pending: usize,
    /// Outcomes that are recorded and delivered in all, at the two times when memory and storage are measured.
    outcomes: [usize; 2],
}

impl Sizes {
    fn of(outcomes: usize) -> Self {
        let part = |of: usize| of * outcomes.min(OUTCOMES) / OUTCOMES;
        Self {
            jobs: part(100).max(5),
            backlog: part(3_000).max(300),
            pending: part(10_000).max(100),
            outcomes: [outcomes, outcomes + outcomes / 2],
        }
    }
}

/// The cluster, the program that is measured and the one that gives it something to do.
struct Bench {
    environment: BenchEnvironment,
    reaper: PathBuf,
    outcomes: Outcomes,
}

impl Bench {
    /// Starts the reaper with these sinks, and waits until it leads.
    async fn reaper(&self, sinks: &[Value]) -> anyhow::Result<Server> {
        let server = Server::start(&self.environment, &self.reaper, Some(&sinks::config(sinks))).await?;
        until(&server, "leads", "jobwarden_leader", "", |leads| leads > 0.0).await?;
        Ok(server)
    }

    /// Ends the reaper and deletes all outcomes.
    async fn clear(&mut self, server: Server) -> anyhow::Result<()> {
        let _step = progress::step("deleting the outcomes");
        server.stop().await?;
        self.outcomes.clear()
    }
}

/// Waits until the sum of a metric satisfies `wanted`.
async fn until(
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

pub(super) async fn measure(outcomes: usize) -> anyhow::Result<BTreeMap<String, f64>> {
    ensure!(outcomes > 0, "--outcomes must be at least 1");
    let sizes = Sizes::of(outcomes);
    Broker::ensure_installed()?;
    image::build()?;
    let reaper = install::program("jobwarden-reaper")?;
    let recorder = image::program("jobwarden-outcomes")?;
    let environment = BenchEnvironment::start("bench-deliver", &jobs::settings()).await?;
    let mut figures = jobs::measure(&environment, sizes.jobs).await?;
    environment.stop_reapers().await?;

    let outcomes = Outcomes::start(&environment, &recorder)?;
    let mut bench = Bench { environment, reaper, outcomes };
    bench.outcomes.clear()?;
    figures.extend(throughput::measure(&mut bench, sizes.backlog).await?);
    figures.extend(dead_sink::measure(&mut bench, sizes.pending).await?);
    let figures = figures.into_iter().map(|(name, value)| (name.to_owned(), value));
    let mut figures: BTreeMap<_, _> = figures.collect();
    figures.extend(growth::measure(&mut bench, sizes.outcomes).await?);

    let Bench { environment, reaper: _, outcomes } = bench;
    drop(outcomes);
    environment.tear_down().await.context("tearing the cluster down")?;
    Ok(figures)
}
