//! The writes that the outcome of one Job costs the API server, with real Jobs and the installed reapers.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jobwarden_common::{
    names::{FINALIZER, label, label_value},
    notification::OutcomeKind,
};
use jobwarden_testbed::progress;
use jobwarden_tests::{
    install::{HOME, Settings},
    job::Worker,
    wait,
};
use k8s_openapi::api::batch::v1::Job;
use kube::{Api, ResourceExt as _, api::PostParams};
use tokio::time::{Duration, Instant, sleep};

use crate::bench::environment::BenchEnvironment;

/// How many Jobs run at a time.
const AT_ONCE: usize = 8;
/// How long a Job may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);
/// After how long without a write the reaper has done all there is to do.
const QUIET: Duration = Duration::from_secs(6);

/// The sink wants no success, and no Job is deleted meanwhile: that it is deleted after its retention is one more write, which no outcome
/// needs.
pub(super) fn settings() -> Settings {
    Settings {
        retention: Duration::from_hours(1),
        set: &["reaper.sinks[0].filter.kinds={failed,lost}"],
        ..Settings::default()
    }
}

pub(super) async fn measure(
    environment: &BenchEnvironment,
    jobs: usize,
) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    let failed = writes_per_job(environment, jobs, "failed", true).await?;
    let succeeded = writes_per_job(environment, jobs, "succeeded", false).await?;
    let notified = environment.receiver.picked(|received| Some(received.event.data.kind));
    let of = |kind| notified.iter().filter(|notified| **notified == kind).count();
    ensure!(
        of(OutcomeKind::Failed) == jobs && of(OutcomeKind::Succeeded) == 0,
        "the sink received {notified:?} of {jobs} Jobs that failed and {jobs} that succeeded"
    );
    Ok(BTreeMap::from([("api_writes_per_failed_job", failed), ("api_writes_per_succeeded_job", succeeded)]))
}

/// Runs Jobs that fail or succeed, and counts the reaper's writes.
async fn writes_per_job(environment: &BenchEnvironment, jobs: usize, name: &str, fails: bool) -> anyhow::Result<f64> {
    let step = progress::step(format!("{jobs} Jobs that have {name}"));
    let enrolled = [(label::INJECT, label_value::ENABLED)];
    let namespace = environment.cluster.temp_namespace(name, &enrolled).await?;
    let before = quiet_writes(environment).await?;
    let running = (0..jobs).map(|number| run(environment, namespace.name(), format!("{name}-{number}"), fails));
    let mut running = stream::iter(running).buffer_unordered(AT_ONCE);
    let mut done = 0;
    while running.try_next().await?.is_some() {
        done += 1;
        step.detail(format!("{done}"));
    }
    drop(running);
    let writes = (quiet_writes(environment).await? - before) / jobs as f64;
    step.detail(format!("{writes:.2} writes each"));
    // Only now: the end of a namespace is the end of its Jobs.
    namespace.delete().await?;
    quiet_writes(environment).await?;
    Ok(writes)
}

/// Runs a Job until its outcome is recorded.
async fn run(environment: &BenchEnvironment, namespace: &str, name: String, fails: bool) -> anyhow::Result<()> {
    let mut worker = Worker::new(&name, 4, Duration::from_secs(1)).on_node(HOME);
    if fails {
        worker = worker.argument("--exit=3");
    }
    let jobs = Api::<Job>::namespaced(environment.client.clone(), namespace);
    let created =
        jobs.create(&PostParams::default(), &worker.job()).await.with_context(|| format!("creating {name}"))?;
    let has_finalizer = |job: &Job| job.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    ensure!(has_finalizer(&created), "{name} was created without the finalizer that its outcome removes");
    let recorded = |job: Option<&Job>| job.is_some_and(|job| !has_finalizer(job));
    wait::until::<Job>(&environment.client, namespace, &name, PATIENCE, "recorded", recorded).await?;
    let finished = if fails { "Failed" } else { "Complete" };
    wait::until_job(&environment.client, namespace, &name, finished, PATIENCE).await.map(drop)
}

/// The number of the reaper's writes, once there are no more of them.
async fn quiet_writes(environment: &BenchEnvironment) -> anyhow::Result<f64> {
    let give_up = Instant::now() + PATIENCE;
    let mut last = environment.writes().await?;
    loop {
        sleep(QUIET).await;
        let writes = environment.writes().await?;
        if writes <= last {
            return Ok(writes);
        }
        ensure!(Instant::now() < give_up, "the reaper still writes after {PATIENCE:?}");
        last = writes;
    }
}
