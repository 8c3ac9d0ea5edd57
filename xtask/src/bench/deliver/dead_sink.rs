//! A sink that refuses connections while many outcomes are pending for it: what it costs the API server, and what it costs another sink.

use std::collections::BTreeMap;

use anyhow::ensure;
use jobwarden_testbed::progress;
use tokio::time::{Duration, Instant, sleep};

use super::{
    harness::{Bench, until},
    sinks,
    throughput::{PENDING, labels_of},
};
use crate::bench::{process::median, server::Server};

/// How often latencies are measured; the median of the 99th percentiles counts.
const TURNS: usize = 3;
/// The number of outcomes whose latencies are measured in a turn, and how many of them are recorded in a second.
const PACE: (usize, u32) = (500, 50);
/// How long the reaper has after its start, before its requests are counted, and for how long they are.
const SETTLE: Duration = Duration::from_secs(15);
const COUNTED: Duration = Duration::from_mins(1);
/// The metric of a sink that fails.
const FAILING: &str = "jobwarden_sink_failing";

pub(super) async fn measure(bench: &mut Bench, pending: usize) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    let living = sinks::http(&bench.environment)?;
    let server = bench.reaper(std::slice::from_ref(&living)).await?;
    let alone = p99_ms(bench, "alone", sinks::HTTP)?;
    server.stop().await?;

    {
        let _step = progress::step(format!("recording {pending} outcomes for a sink that refuses connections"));
        bench.outcomes.record(pending, sinks::DEAD)?;
    }
    let server = bench.reaper(&[living, sinks::dead()]).await?;
    let is_pending = |waiting: f64| waiting >= pending as f64;
    until(&server, "has listed every outcome", PENDING, &labels_of(sinks::DEAD), is_pending).await?;
    until(&server, "has noticed that the sink fails", FAILING, &labels_of(sinks::DEAD), |failing| failing > 0.0)
        .await?;
    let requests_per_s = requests_per_s(bench, &server, pending).await?;
    let beside = p99_ms(bench, "beside it", &format!("{},{}", sinks::HTTP, sinks::DEAD))?;
    bench.clear(server).await?;
    Ok(BTreeMap::from([
        ("api_requests_per_s_dead_sink", requests_per_s),
        ("pending_behind_dead_sink", pending as f64),
        ("p99_ms_alone", alone),
        ("p99_ms_beside_dead_sink", beside),
    ]))
}

/// All requests of the reaper but watches, the renewal of its Lease among them.
async fn requests_per_s(bench: &Bench, server: &Server, pending: usize) -> anyhow::Result<f64> {
    let step = progress::step(format!("counting requests while {pending} outcomes are pending"));
    sleep(SETTLE).await;
    let before = bench.environment.requests().await?;
    ensure!(before > 0.0, "the API server does not count the reaper's requests");
    let begin = Instant::now();
    sleep(COUNTED).await;
    let per_s = (bench.environment.requests().await? - before) / begin.elapsed().as_secs_f64();
    let waiting = server.metric(PENDING, &labels_of(sinks::DEAD)).await?;
    ensure!(waiting >= pending as f64, "{waiting} of {pending} outcomes are still pending");
    step.detail(format!("{per_s:.2} a second"));
    Ok(per_s)
}

/// The 99th percentile of the time from the request that records an outcome until its notification is received.
fn p99_ms(bench: &mut Bench, with: &str, sinks: &str) -> anyhow::Result<f64> {
    let (count, rate) = PACE;
    let step = progress::step(format!("{rate} outcomes a second to a living sink {with}"));
    // What is set up once, such as connections, is not measured.
    bench.outcomes.pace(rate as usize, rate, sinks)?;
    let p99s = (0..TURNS).map(|_| bench.outcomes.pace(count, rate, sinks)).collect::<anyhow::Result<Vec<_>>>()?;
    step.detail(format!("p99 {p99s:.1?} ms"));
    Ok(median(p99s))
}
