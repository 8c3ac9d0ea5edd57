//! `cargo xtask chaos`: a campaign of random faults on a real cluster, and an account of what jobwarden made of them.

mod account;
mod campaign;
mod due;
mod fleet;
mod harm;
mod history;
mod plan;
mod report;
mod watchman;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fastrand::Rng;
use jobwarden_tests::cluster::{self, ClusterConfig};
use jobwarden_tests::ground::Ground;
use jobwarden_tests::install::Settings;
use tokio::time::{sleep, timeout};

use campaign::Campaign;
use harm::Harm;
use history::At;
use report::Clerk;
use watchman::Watchman;

use crate::image;

const CLUSTER: &str = "campaign";
const NODES: u8 = 4;

/// How often the account is looked into.
const LOOK: Duration = Duration::from_secs(5);
/// How long after the last fault everything that is due has been told: the longest bound, and a breaker that settles.
const AFTERMATH: Duration = Duration::from_mins(4);

/// Let random faults happen to 40 Jobs on a real cluster, and see that every verdict is right and in time; see
/// docs/design/0004-chaos.md
///
/// Boots a Kubernetes of four nodes in network namespaces of this machine. Ends with an account, and with a failure if any
/// verdict was wrong, missing or told twice. Needs what the demo needs.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// For how long faults are drawn; the campaign ends some minutes later
    #[arg(long, default_value_t = 10, value_name = "N")]
    minutes: u64,
    /// Which faults are drawn, and when
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// How many seconds after its last sign of life a worker counts as lost
    #[arg(long, default_value = "30s", value_parser = seconds, value_name = "TIME")]
    lost_after: Duration,
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
    /// Leave the cluster up
    #[arg(long)]
    keep: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let figure = text.strip_suffix('s').unwrap_or(text);
    figure.parse().map(Duration::from_secs).map_err(|error| format!("{text:?} is no number of seconds: {error}"))
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let Args { minutes, seed, lost_after, json, keep } = args;
    cluster::tear_down_on_signals();
    tokio::task::spawn_blocking(image::build).await.context("building the images")??;
    let settings = Settings { lost_after, ..Settings::default() };
    let ground = Ground::lay(&ClusterConfig::new(CLUSTER).nodes(NODES), settings).await?;
    let campaign = Arc::new(Campaign::begin(ground, lost_after).await?);
    let clerk = wage(&campaign, Duration::from_secs(60 * minutes), seed).await?;
    let sum = clerk.sum(&campaign);
    report::show(&campaign, &sum);
    if json {
        println!("{}", serde_json::to_string(&sum.figures)?);
    }
    if keep {
        // Without unwinding: what is not dropped is not torn down.
        std::process::exit(i32::from(!sum.is_clean()));
    }
    campaign.end().await.context("ending the cluster")?;
    ensure!(sum.is_clean(), "some verdicts were wrong, missing or told twice; the account says which");
    Ok(())
}

/// Lets faults happen for so long, and waits until all of them have been told of.
async fn wage(campaign: &Arc<Campaign>, lasting: Duration, seed: u64) -> anyhow::Result<Clerk> {
    let mut clerk = Clerk::default();
    let mut harm = Harm::new(Arc::clone(campaign));
    let draws = plan::draws(seed, campaign.lost_after);
    let all_run = async {
        campaign.say(format!("{} Jobs are being started", fleet::OPEN));
        until_started(campaign).await;
        campaign.say(format!("they run; faults are drawn by seed {seed} for {} minutes", lasting.as_secs() / 60));
        // That it runs for ever is the point.
        let _ = timeout(lasting, harm.run(draws)).await;
        campaign.say("no more faults are drawn");
        harm.recover().await;
        // What is not told by then is missed.
        let _ = timeout(AFTERMATH, until_told(campaign)).await;
    };
    tokio::select! {
        () = all_run => {}
        kept = fleet::keep(campaign, Rng::with_seed(seed)) => kept?,
        () = fleet::watch(campaign) => {}
        () = fleet::hear_kubernetes(campaign) => {}
        () = keep_watch(campaign) => {}
        () = clerk.run(campaign) => {}
    }
    Ok(clerk)
}

/// A campaign begins with all its Jobs; those that end early make room for others.
async fn until_started(campaign: &Campaign) {
    let started = || campaign.workers().len();
    let all = async {
        while started() < fleet::OPEN * 3 / 4 {
            sleep(LOOK).await;
        }
    };
    let _ = timeout(AFTERMATH, all).await;
    // A leader fails nothing before it has listened for lost-after.
    sleep(campaign.lost_after).await;
}

/// Waits until nothing is left to be told. Jobs that run on are well.
async fn until_told(campaign: &Campaign) {
    let outstanding = || account::outstanding(&campaign.history(), &campaign.told(), campaign.lost_after);
    while outstanding() > 0 {
        sleep(LOOK).await;
    }
}

/// Takes down whether the leader hears and what it holds.
async fn keep_watch(campaign: &Campaign) {
    let mut watchman = Watchman::default();
    loop {
        let answer = watchman::ask(&campaign.ground.client).await;
        let (silent, now): (_, At) = (campaign.silent(), campaign.now());
        let news = watchman.note(&mut campaign.history(), answer.as_ref(), silent, now);
        if let Some(news) = news {
            campaign.say(news);
        }
    }
}
