//! `cargo xtask chaos`: a campaign of random faults on a real cluster, judged by an oracle.

use std::time::Duration;

use anyhow::Context as _;
use jobwarden_tests::campaign::{self, Options};

use crate::image;

/// Inject random faults while 40 Jobs run on a real cluster, and check every notification
///
/// Boots a Kubernetes of four nodes in network namespaces of this machine, keeps 40 Jobs open and crashes, cuts off and
/// restarts parts of the cluster at random. An oracle that knows what really happened checks that every outcome is reported
/// once, correctly and in time. Prints a report, and fails if any notification was wrong, missing or duplicated.
/// docs/design/0004-chaos.md has the rules. Needs root, Linux, Go and Rust.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask chaos                          # 10 minutes of faults with seed 1
  cargo xtask chaos --minutes 30 --seed 7    # other faults, for longer
  cargo xtask chaos --keep                   # leave the cluster running for inspection")]
pub(crate) struct Args {
    /// How many minutes faults are drawn; the campaign ends some minutes later
    #[arg(long, default_value_t = 10, value_name = "N")]
    minutes: u64,
    /// Determines which faults are drawn, and when
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// How many seconds after its last sign of life a worker counts as lost
    #[arg(long, default_value = "30s", value_parser = seconds, value_name = "TIME")]
    lost_after: Duration,
    /// Print one line of JSON in the end
    #[arg(long)]
    json: bool,
    /// Leave the cluster running
    #[arg(long)]
    keep: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    number.parse().map(Duration::from_secs).map_err(|error| format!("{text:?} is not a number of seconds: {error}"))
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let Args { minutes, seed, lost_after, json, keep } = args;
    // As early as possible: also while the images are built, a signal ends the process with the usual status.
    jobwarden_testbed::tear_down_on_signals();
    tokio::task::spawn_blocking(image::build).await.context("building the images")??;
    campaign::run(Options { duration: Duration::from_secs(60 * minutes), seed, lost_after, json, keep }).await
}
