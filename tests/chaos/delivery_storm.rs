//! Hundreds of Jobs that end while leaders are killed and receivers fail: every outcome arrives, and what cannot arrive is accounted for.
//!
//! ```text
//!  workload: 300 Jobs that succeed, fail, run out of memory or are deleted ──► reapers, whose leader is killed every few seconds
//!                                                                                 ├──► orchestrator: always answers
//!  Account ◄── JobOutcomes, received notifications                                ├──► shaky: half of the time it answers 500, hangs or is down
//!                                                                                 └──► dead: refuses connections; given up
//! ```

mod leaders;
mod receivers;
mod workload;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_testbed::{TempNamespace, progress};
use jobwarden_tests::delivery_account::Account;
use jobwarden_tests::environment::Environment;
use jobwarden_tests::install::SINK;
use jobwarden_tests::job_outcomes::{self, Recorded};
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{faults, reaper_config};
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use tokio::time::{sleep, timeout};

use leaders::LeaderKills;
use receivers::Receivers;
use workload::Workload;

/// How many Jobs there are.
const JOBS: usize = 300;

/// How long it may take until the last Job has ended, on two cores.
const STORM: Duration = Duration::from_mins(6);

/// How long after the storm every delivery has ended: a lease duration until there is a leader, the time until its breaker for the dead
/// sink opens, and the [`receivers::GIVE_UP_AFTER`] of that sink, with room for a busy machine.
const SETTLE: Duration = Duration::from_mins(2);

/// The time between two looks at the outcomes.
const POLL: Duration = Duration::from_secs(1);

/// Enough for one to lead while another starts and a third is killed.
const REAPERS: u8 = 3;
/// As the chart has it.
const REAPERS_BEFORE: u8 = 2;

pub(crate) async fn every_outcome_of_three_hundred_jobs_arrives_while_leaders_are_killed_and_receivers_fail(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("storm").await?;
    let before = reaper_config::read(&environment.client).await?;
    let receivers = Receivers::start(environment).await?;
    let sinks = receivers.sinks(namespace.name());
    faults::scale_reapers(&environment.cluster, REAPERS).await?;
    reaper_config::replace(&environment.client, &reaper_config::with_sinks(&before, &sinks)?).await?;
    let result = storm(environment, &namespace, &receivers).await;
    // Later tests expect the usual sinks, whatever came of this one.
    let restored = async {
        reaper_config::replace(&environment.client, &before).await?;
        faults::scale_reapers(&environment.cluster, REAPERS_BEFORE).await
    };
    let restored = restored.await;
    result?;
    restored.context("restoring the sinks and reapers of the other tests")
}

async fn storm(environment: &Environment, namespace: &TempNamespace, receivers: &Receivers) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut workload = Workload::new(environment, namespace.name(), JOBS);
    let mut kills = LeaderKills::default();
    let raging = async {
        tokio::select! {
            ended = workload.run() => ended.context("running the Jobs"),
            failed = kills.kill_leaders(environment) => Err(failed.context("killing leaders")),
            failed = receivers.disturb(environment) => Err(failed.context("disturbing a receiver")),
        }
    };
    timeout(STORM, raging).await.with_context(|| format!("the Jobs have not ended within {STORM:?}"))??;
    progress::note(format!("the last Job has ended after {} s", started.elapsed().as_secs()));
    receivers.recover(environment).await?;
    let recorded = settled(environment, namespace.name(), workload.jobs.len()).await?;
    let left = jobs(environment, namespace.name()).await?;
    let account = Account {
        jobs: workload.jobs,
        recorded,
        living: receivers.inboxes(environment, namespace.name()),
        dead: receivers::DEAD.to_owned(),
        leaders_killed: kills.killed,
        took: started.elapsed(),
    };
    account.to_string().lines().for_each(progress::note);
    let held: Vec<_> = left.iter().map(|job| format!("{} {:?}", job.name_any(), job.finalizers())).collect();
    ensure!(held.is_empty(), "Jobs are still there with these finalizers: {held:?}");
    let findings = account.findings();
    ensure!(findings.is_empty(), "{} findings: {findings:#?}", findings.len());
    ensure!(account.leaders_killed >= 10, "only {} leaders were killed", account.leaders_killed);
    let unacknowledged = account.living[receivers::SHAKY].unacknowledged;
    ensure!(unacknowledged > 0, "no delivery to sink {} has failed", receivers::SHAKY);
    ensure!(account.living.contains_key(SINK), "sink {SINK} is not in the account");
    Ok(())
}

/// Waits until every Job is gone and every delivery has ended. After [`SETTLE`] it returns what there is, and the account says what is wrong.
async fn settled(environment: &Environment, namespace: &str, jobs_created: usize) -> anyhow::Result<Vec<Recorded>> {
    let step = progress::step("waiting until every delivery has ended");
    let give_up = Instant::now() + SETTLE;
    loop {
        let recorded = job_outcomes::about(&environment.client, namespace).await?;
        let open = recorded.iter().filter(|outcome| !outcome.is_settled()).count();
        let left = jobs(environment, namespace).await?.len();
        step.detail(format!("{open} of {} outcomes are not settled, {left} Jobs are left", recorded.len()));
        if (open == 0 && left == 0 && recorded.len() >= jobs_created) || Instant::now() > give_up {
            return Ok(recorded);
        }
        sleep(POLL).await;
    }
}

async fn jobs(environment: &Environment, namespace: &str) -> anyhow::Result<Vec<Job>> {
    let jobs = Api::<Job>::namespaced(environment.client.clone(), namespace);
    Ok(jobs.list(&ListParams::default()).await.context("listing the Jobs of the storm")?.items)
}
