//! The reaper at the size of a large cluster: 5,000 Jobs with 10,000 pods at a real API server, and their sidecars.
//!
//! The measured program is the release build. It runs as one process on loopback inside the test cluster's network, with the
//! rights of the reaper's service account. Jobs and pods are real objects, created through the real webhook. Only their nodes
//! do not exist, see [`workload`]. One process simulates the sidecars, with tokens signed by the API server's key.
//!
//! Memory per Job is measured in allocated bytes, by the same program with a counting allocator. Resident memory does not
//! show it, because new Jobs fill gaps that freed memory has left.

mod sidecars;
mod workload;

use std::collections::BTreeMap;

use anyhow::ensure;
use jobwarden_testbed::progress;
use jobwarden_tests::install::{self, Settings};

use self::{sidecars::Sidecars, workload::Workload};
use super::{environment::BenchEnvironment, process::median, server::Server};
use crate::image;

/// The number of Jobs when the reaper with the counting allocator starts, when its memory has been measured, and at the end.
const JOBS: [usize; 3] = [100, 2_500, 5_000];

/// The number of pods per Job while memory is measured (one, as most Jobs have), and of the later Jobs.
const PODS_A_JOB: [usize; 2] = [1, 3];

/// The number of pods at the end.
const PODS: usize = JOBS[1] * PODS_A_JOB[0] + (JOBS[2] - JOBS[1]) * PODS_A_JOB[1];

/// The number of connected sidecars at the beginning, and at the end.
const SIDECARS: (usize, usize) = (2_000, PODS);

/// The number of rounds, and of beats per sidecar and round, while all sidecars beat as fast as they get answers.
const TURNS: (usize, usize) = (3, 10);

/// The number of beat intervals for which requests are counted.
const STEADY: usize = 6;

/// Bytes of a kibibyte.
const KIB: f64 = 1024.0;

pub(super) async fn measure() -> anyhow::Result<BTreeMap<&'static str, f64>> {
    image::build()?;
    let reaper = install::program("jobwarden-reaper")?;
    let weighed = image::examples("jobwarden-reaper", &["weighed"])?.join("weighed");
    let simulator = image::program("jobwarden-sidecars")?;
    let environment = BenchEnvironment::start("bench-reaper", &Settings::default()).await?;
    environment.stop_reapers().await?;
    let mut workload = Workload::create(&environment).await?;

    let [few, some, all] = JOBS;
    workload.grow(few, PODS_A_JOB[0]).await?;
    let mut server = Server::start(&environment, &weighed, None).await?.settle(few).await?;
    let before = server.allocated()?;
    workload.grow(some, PODS_A_JOB[0]).await?;
    let mut server = server.settle(some).await?;
    let bytes_per_job = (server.allocated()? - before) / (some - few) as f64;
    drop(server);

    workload.grow(all, PODS_A_JOB[1]).await?;
    let server = Server::start(&environment, &reaper, None).await?;
    let ready_s = server.ready_after.as_secs_f64();
    let server = server.settle(all).await?;

    let mut sidecars = Sidecars::start(&environment, &workload, &simulator).await?;
    let connected = progress::step(format!("{} sidecars", SIDECARS.1));
    let mut rss_kib = Vec::new();
    for lines in [SIDECARS.0, SIDECARS.1] {
        sidecars.command("open", lines)?;
        // An idle connection is one that sends a beat now and then.
        sidecars.command("pace", 1)?;
        rss_kib.push(server.program.process.rss_kib()?);
    }
    let bytes_per_connection = (rss_kib[1] - rss_kib[0]) * KIB / (SIDECARS.1 - SIDECARS.0) as f64;
    connected.detail(format!("{bytes_per_connection:.0} bytes each"));
    drop(connected);
    let alive = server.jobs("alive").await?;
    ensure!(alive >= all as f64, "only {alive} of {all} Jobs have the verdict alive while all sidecars beat");

    let beating = progress::step(format!("beats over {} connections, as fast as they get answers", SIDECARS.1));
    let mut rates = Vec::new();
    for _ in 0..TURNS.0 {
        let before = server.program.process.cpu_us()?;
        let beats = sidecars.command("beat", TURNS.1)?;
        rates.push(beats / (server.program.process.cpu_us()? - before) * 1e6);
    }
    let beats_per_s_per_core = median(rates);
    beating.detail(format!("{beats_per_s_per_core:.0} a second of CPU time"));
    drop(beating);

    let quiet = progress::step("counting requests while only beats and Lease renewals happen");
    let before = environment.requests().await?;
    ensure!(before > 0.0, "the API server does not count the reaper's requests");
    let begin = std::time::Instant::now();
    sidecars.command("pace", STEADY)?;
    let steady_requests_per_s = (environment.requests().await? - before) / begin.elapsed().as_secs_f64();
    drop(quiet);

    drop((sidecars, server, workload));
    environment.tear_down().await?;
    Ok(BTreeMap::from([
        ("beats_per_s_per_core", beats_per_s_per_core),
        ("bytes_per_connection", bytes_per_connection),
        ("bytes_per_job", bytes_per_job),
        ("ready_5k_jobs_s", ready_s),
        ("steady_requests_per_s", steady_requests_per_s),
    ]))
}
