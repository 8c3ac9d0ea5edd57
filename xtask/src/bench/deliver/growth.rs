//! What stays of many outcomes that were recorded and delivered: in etcd, and in the memory of the leader.

use anyhow::ensure;
use jobwarden_testbed::progress;
use tokio::time::{Duration, Instant, sleep};

use super::{
    etcd::Etcd,
    harness::{Bench, TIMEOUT, until},
    sinks,
    throughput::{PENDING, labels_of},
};

/// How many settled outcomes the reaper keeps at most, by default.
const KEPT: usize = 5_000;
/// How many outcomes are recorded between two lines of progress.
const CHUNK: usize = 2_500;
/// The idle time before memory is measured.
const IDLE: Duration = Duration::from_secs(10);
/// How often the outcomes that exist are counted.
const COUNT_EVERY: Duration = Duration::from_secs(2);

pub(super) async fn measure(bench: &mut Bench, numbers: [usize; 2]) -> anyhow::Result<Vec<(String, f64)>> {
    let etcd = Etcd::of(&bench.environment.cluster).await?;
    let mut figures = vec![("etcd_mib_before".to_owned(), etcd.mib().await?)];
    let server = bench.reaper(&[sinks::http(&bench.environment)?]).await?;
    sleep(IDLE).await;
    let rss_before = server.program.process.rss_kib()?;
    let mut recorded = 0;
    for number in numbers {
        let step = progress::step(format!("{number} outcomes are recorded and delivered"));
        while recorded < number {
            let chunk = CHUNK.min(number - recorded);
            bench.outcomes.flow(chunk, sinks::HTTP)?;
            recorded += chunk;
            step.detail(format!("{recorded}"));
        }
        until(&server, "has written every status", PENDING, &labels_of(sinks::HTTP), |pending| pending <= 0.0).await?;
        until_few_are_kept(bench).await?;
        sleep(IDLE).await;
        let growth = server.program.process.rss_kib()? - rss_before;
        let mib = etcd.mib().await?;
        step.detail(format!("{mib:.1} MiB in etcd, the leader has grown by {growth:.0} KiB"));
        figures.push((format!("etcd_mib_after_{}_outcomes", short(number)), mib));
        figures.push((format!("leader_rss_growth_kib_after_{}", short(number)), growth));
    }
    bench.clear(server).await?;
    Ok(figures)
}

/// Waits until the reaper has deleted what it does not keep.
async fn until_few_are_kept(bench: &mut Bench) -> anyhow::Result<()> {
    let give_up = Instant::now() + TIMEOUT;
    loop {
        let kept = bench.outcomes.count()?;
        if kept <= KEPT {
            return Ok(());
        }
        ensure!(Instant::now() < give_up, "{kept} outcomes exist {TIMEOUT:?} after they were delivered");
        sleep(COUNT_EVERY).await;
    }
}

/// A number in the name of a figure: `100k`, `750`.
fn short(number: usize) -> String {
    if number.is_multiple_of(1000) { format!("{}k", number / 1000) } else { number.to_string() }
}
