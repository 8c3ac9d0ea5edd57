//! The reaper at the size of a large cluster: 5,000 Jobs with 10,000 pods at a real API server, and their sidecars.
//!
//! The program is the one that ships, a process of its own on loopback inside the test cluster's network, with the rights of its
//! own service account. Jobs and pods are real objects, made through the real webhook; what does not exist is the nodes that they
//! are bound to: see [`crowd`]. The sidecars are played by one process, with tokens signed by the API server's key.
//!
//! What a Job takes is counted in allocated bytes, by the same program with a counting allocator: resident memory does not tell it,
//! for new Jobs fill the gaps that others have left.

mod crowd;
mod ground;
mod server;
mod sidecars;

use std::collections::BTreeMap;

use anyhow::ensure;
use jobwarden_tests::{install, progress};

use self::{crowd::Crowd, ground::Ground, server::Server, sidecars::Sidecars};
use super::process::median;
use crate::image;

/// How many Jobs there are when the reaper that is weighed starts, when it has been weighed, and at last.
const JOBS: [usize; 3] = [100, 2_500, 5_000];

/// How many pods each Job has of those that are weighed, which is as most are and as is beside each connection; and of the last.
const PODS_A_JOB: [usize; 2] = [1, 3];

/// How many pods there are at last.
const PODS: usize = JOBS[1] * PODS_A_JOB[0] + (JOBS[2] - JOBS[1]) * PODS_A_JOB[1];

/// How many sidecars are connected at first, and at last.
const SIDECARS: (usize, usize) = (2_000, PODS);

/// How often, and how many times each, all sidecars beat as fast as they are answered.
const TURNS: (usize, usize) = (3, 10);

/// For how many intervals of beats requests are counted.
const STEADY: usize = 6;

/// Bytes of a kibibyte.
const KIB: f64 = 1024.0;

pub(super) async fn measure() -> anyhow::Result<BTreeMap<&'static str, f64>> {
    image::build()?;
    let reaper = install::program("jobwarden-reaper")?;
    let weighed = image::examples("jobwarden-reaper", &["weighed"])?.join("weighed");
    let player = image::program("jobwarden-sidecars")?;
    let ground = Ground::lay().await?;
    let mut crowd = Crowd::gather(&ground).await?;

    let [few, some, all] = JOBS;
    crowd.grow(few, PODS_A_JOB[0]).await?;
    let mut server = Server::start(&ground, &weighed).await?.settle(few).await?;
    let before = server.allocated()?;
    crowd.grow(some, PODS_A_JOB[0]).await?;
    let mut server = server.settle(some).await?;
    let bytes_per_job = (server.allocated()? - before) / (some - few) as f64;
    drop(server);

    crowd.grow(all, PODS_A_JOB[1]).await?;
    let server = Server::start(&ground, &reaper).await?;
    let ready_s = server.ready_after.as_secs_f64();
    let server = server.settle(all).await?;

    let mut sidecars = Sidecars::start(&ground, &crowd, &player).await?;
    let connected = progress::step(format!("{} sidecars", SIDECARS.1));
    let mut rss_kib = Vec::new();
    for lines in [SIDECARS.0, SIDECARS.1] {
        sidecars.order("open", lines)?;
        // Idle is what beats now and then.
        sidecars.order("pace", 1)?;
        rss_kib.push(server.program.process.rss_kib()?);
    }
    let bytes_per_connection = (rss_kib[1] - rss_kib[0]) * KIB / (SIDECARS.1 - SIDECARS.0) as f64;
    connected.detail(format!("{bytes_per_connection:.0} bytes each"));
    drop(connected);
    let alive = server.jobs("alive").await?;
    ensure!(alive >= all as f64, "only {alive} Jobs are judged alive, though all sidecars beat");

    let beating = progress::step(format!("beats over {} connections, as fast as they are answered", SIDECARS.1));
    let mut rates = Vec::new();
    for _ in 0..TURNS.0 {
        let before = server.program.process.cpu_us()?;
        let beats = sidecars.order("beat", TURNS.1)?;
        rates.push(beats / (server.program.process.cpu_us()? - before) * 1e6);
    }
    let beats_per_s_per_core = median(rates);
    beating.detail(format!("{beats_per_s_per_core:.0} a second of CPU time"));
    drop(beating);

    let quiet = progress::step("nothing happens but beats and renewals of Leases");
    let before = ground.requests().await?;
    ensure!(before > 0.0, "the API server does not count the reaper's requests");
    let begin = std::time::Instant::now();
    sidecars.order("pace", STEADY)?;
    let steady_requests_per_s = (ground.requests().await? - before) / begin.elapsed().as_secs_f64();
    drop(quiet);

    drop((sidecars, server, crowd));
    ground.clear().await?;
    Ok(BTreeMap::from([
        ("beats_per_s_per_core", beats_per_s_per_core),
        ("bytes_per_connection", bytes_per_connection),
        ("bytes_per_job", bytes_per_job),
        ("ready_5k_jobs_s", ready_s),
        ("steady_requests_per_s", steady_requests_per_s),
    ]))
}
