//! `cargo xtask chaos`: a campaign of random faults on a real cluster of loaded nodes, judged by an oracle.

use std::time::Duration;

use anyhow::Context as _;
use jobwarden_tests::campaign::{self, Options};

use crate::image;

/// Inject random faults while 28 Jobs run on each of four real nodes, and check every notification
///
/// Boots a Kubernetes of four nodes in network namespaces of this machine, keeps 28 Jobs open on each node that is well, and draws
/// faults from a seed, several at a time:
///
/// nodes: crash (also of the node that carries most), crash and deletion, reboot, partition, kubelet stopped, runtime frozen, traffic
/// to the reaper dropped, taint, drain;
///
/// Jobs: worker or sidecar killed, traffic dropped, suspended and resumed, scaled down and up, deleted with each propagation;
///
/// all of it: API server or etcd restarted, leader killed, reapers or agents stopped, every node but one cut off, a wrong clock on the
/// reapers' host, writes refused by a policy or by RBAC.
///
/// An oracle that knows what really happened checks that every outcome is reported once, correctly and in time. Prints the seed and a
/// report with the evidence for each finding, and fails if any notification was wrong, missing or duplicated.
/// docs/design/0011-the-campaign.md has the rules. Needs root, Linux, Go and Rust.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask chaos                          # 10 minutes of faults with seed 1
  cargo xtask chaos --minutes 30 --seed 7    # other faults, for longer: each kind occurs at least three times
  cargo xtask chaos --keep                   # leave the cluster running for inspection")]
pub(crate) struct Args {
    /// How many minutes faults are drawn; the campaign ends some minutes later
    #[arg(long, default_value_t = 10, value_name = "N")]
    minutes: u64,
    /// Determines which faults are drawn, and when: the same seed gives the same plan
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// How many seconds after its last sign of life a worker counts as lost
    #[arg(long, default_value = "30s", value_parser = seconds, value_name = "TIME")]
    lost_after: Duration,
    /// Print one line of JSON in the end: seed, jobs, faults, wrong, missed, duplicated, `detection_p50_s`, `detection_max_s`
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
