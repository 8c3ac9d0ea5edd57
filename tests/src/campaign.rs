//! The chaos campaign: random faults on a real cluster, and an oracle that judges jobwarden's notifications.
//!
//! ```text
//!  fault_plan ─► injector ─► cluster ◄─ workload (28 open Jobs a node)
//!                   │         │     │
//!                   ▼         ▼     ▼
//!                History ◄─ truth  notifications        guard_monitor (domains) ─► History
//!                   └───────────────┴──► oracle (deadline, domains) ─► report
//! ```
//!
//! `docs/design/0004-chaos.md` and `docs/design/0011-the-campaign.md` have the rules. [`oracle`], [`deadline`], [`domains`],
//! [`history`] and [`fault_plan`] are pure.

mod clock;
pub mod deadline;
pub mod domains;
mod evidence;
pub mod fault_plan;
mod guard_monitor;
pub mod history;
mod injector;
pub mod oracle;
mod report;
pub mod span;
mod state;
mod truth;
mod workload;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fastrand::Rng;
use jobwarden_testbed::{ClusterConfig, tear_down_on_signals};
use tokio::time::{sleep, timeout};

use guard_monitor::GuardMonitor;
use history::CampaignTime;
use injector::Injector;
use report::Reporter;
use state::Campaign;

use crate::environment::Environment;
use crate::install::Settings;

const CLUSTER: &str = "campaign";
const NODES: u8 = 4;

/// The number of Jobs on each node before the first fault.
const LOADED: usize = 25;
/// How long it may take to load the nodes.
const LOADING: Duration = Duration::from_mins(6);
/// The time between two looks at how far the campaign is.
const POLL: Duration = Duration::from_secs(5);
/// How long after the last fault everything that is due has been reported: the longest deadline, and the time until a
/// breaker releases.
const SETTLE: Duration = Duration::from_mins(4);

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long faults are drawn. The campaign ends some minutes later.
    pub duration: Duration,
    /// Determines which faults are drawn, and when.
    pub seed: u64,
    /// How long after its last sign of life a worker counts as lost.
    pub lost_after: Duration,
    /// Whether to end with one line of JSON.
    pub json: bool,
    /// Whether to leave the cluster running and exit the process.
    pub keep: bool,
}

/// Boots a cluster, runs the campaign and prints its report. Fails if there is any finding. The images have to be built.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let Options { duration, seed, lost_after, json, keep } = options;
    tear_down_on_signals();
    let settings = Settings { lost_after, ..Settings::default() };
    let environment = Environment::start(&ClusterConfig::new(CLUSTER).nodes(NODES), settings).await?;
    let campaign = Arc::new(Campaign::start(environment, lost_after).await?);
    let reporter = Box::pin(execute(&campaign, duration, seed)).await?;
    let summary = reporter.summary(&campaign, seed);
    report::print(&campaign, &summary);
    if json {
        report::print_json(&summary)?;
    }
    if keep {
        // Exiting without unwinding skips the drop that would tear the cluster down.
        std::process::exit(i32::from(!summary.is_clean()));
    }
    campaign.tear_down().await.context("tearing down the cluster")?;
    ensure!(summary.is_clean(), "some notifications were wrong, missing or duplicated; see the report");
    Ok(())
}

/// Injects faults for `duration`, and waits until all outcomes are reported.
async fn execute(campaign: &Arc<Campaign>, duration: Duration, seed: u64) -> anyhow::Result<Reporter> {
    let mut reporter = Reporter::default();
    let mut injector = Injector::new(Arc::clone(campaign));
    let draws = fault_plan::draws(seed, campaign.lost_after);
    let phases = async {
        campaign.print(format!("seed {seed}: starting {} Jobs on each of {NODES} nodes", workload::PER_NODE));
        wait_until_started(campaign).await;
        campaign
            .print(format!("the Jobs run; drawing faults with seed {seed} for {} minutes", duration.as_secs() / 60));
        // The injector never ends by itself, so the timeout is expected.
        let _ = timeout(duration, injector.run(draws)).await;
        campaign.print("no more faults are drawn");
        injector.recover().await;
        // An outcome that is not reported by then counts as missed.
        let _ = timeout(SETTLE, wait_until_reported(campaign)).await;
    };
    tokio::select! {
        () = phases => {}
        () = workload::keep_open(campaign, Rng::with_seed(seed)) => {}
        () = truth::watch_processes(campaign) => {}
        () = truth::watch_kubernetes(campaign) => {}
        () = monitor_guards(campaign) => {}
        () = reporter.run(campaign) => {}
    }
    Ok(reporter)
}

/// Waits until every node is loaded and most Jobs run. Jobs that end early are replaced, so not all of them need to run at once.
async fn wait_until_started(campaign: &Campaign) {
    let loaded = || workload::load(campaign).values().all(|jobs| *jobs >= LOADED);
    let most = workload::PER_NODE * usize::from(NODES) * 3 / 4;
    let all = async {
        while !loaded() || campaign.workers().len() < most {
            sleep(POLL).await;
        }
    };
    if timeout(LOADING, all).await.is_err() {
        campaign.print(format!("the nodes are not loaded yet after {LOADING:?}: {:?}", workload::load(campaign)));
    }
    // A leader fails no Job before it has received signals for lost-after.
    sleep(campaign.lost_after).await;
}

/// Waits until no outcome is due any more. Jobs that still run are fine.
async fn wait_until_reported(campaign: &Campaign) {
    let outstanding = || oracle::outstanding(&campaign.history(), &campaign.notifications(), campaign.lost_after);
    while outstanding() > 0 {
        sleep(POLL).await;
    }
}

/// Records whether the leader receives signals and what its guards hold.
async fn monitor_guards(campaign: &Campaign) {
    let mut monitor = GuardMonitor::default();
    loop {
        let answer = guard_monitor::ask(&campaign.environment.client).await;
        let now: CampaignTime = campaign.now();
        let news = monitor.record(&mut campaign.history(), answer.as_ref(), campaign.lost_after, now);
        if let Some(news) = news {
            campaign.announce(None, news);
        }
    }
}
