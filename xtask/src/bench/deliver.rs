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
mod harness;
mod jobs;
mod outcomes;
mod sinks;
mod throughput;

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use jobwarden_tests::install;

use self::{broker::Broker, harness::Bench, outcomes::Outcomes};
use super::environment::BenchEnvironment;
use crate::image;

/// The name of the benchmark.
pub(super) const NAME: &str = "deliver";

/// The number of outcomes in the last measurement, unless the command line says otherwise. The other numbers are for that many.
pub(super) const OUTCOMES: usize = 100_000;

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
