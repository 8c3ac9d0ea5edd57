//! A reaper that lists Jobs and pods from time to time, and watches neither.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::reason;
use jobwarden_common::notification::{CloudEvent, OutcomeKind};
use jobwarden_tests::environment::{ENDLESS, Environment, SOON};
use jobwarden_tests::install::{HOME, NAMESPACE};
use jobwarden_tests::job::Worker;
use jobwarden_tests::{metrics, reaper_api, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, LogParams};
use kube::{Api, ResourceExt as _};
use tokio::time::sleep;

/// The values of the chart with which lists alone show what happens, at the shortest interval that there is.
pub(crate) const FLAGS: [&str; 2] = ["--set=reaper.watch=false", "--set=reaper.listInterval=10s"];
/// That interval.
const INTERVAL: Duration = Duration::from_secs(10);

/// A failed and a deleted Job of an enrolled namespace are reported and cleaned up, and one whose worker lives is left alone.
pub(crate) async fn are_enough(environment: &Environment, namespace: &str) -> anyhow::Result<()> {
    let (client, started) = (&environment.client, Instant::now());
    let leader = metrics::leader(client).await?.name_any();
    let log = Api::<Pod>::namespaced(client.clone(), NAMESPACE).logs(&leader, &LogParams::default()).await?;
    ensure!(log.contains("Jobs and pods are not watched"), "{leader} watches: {log}");

    let endless = |name: &str| Worker::new(name, 4, ENDLESS).on_node(HOME);
    environment.submit(namespace, &endless("lives")).await?;
    environment.submit(namespace, &endless("deleted")).await?;
    let fails = Worker::new("fails", 4, Duration::from_secs(1)).on_node(HOME).argument("--exit=3");
    environment.submit(namespace, &fails).await?;
    let pod = wait::until_running(client, namespace, "deleted", &[], SOON).await?.name_any();
    let jobs = Api::<Job>::namespaced(client.clone(), namespace);
    jobs.delete("deleted", &DeleteParams::background()).await.context("deleting a Job")?;

    let failed = environment.receiver.wait_for(namespace, "fails", SOON, is_final).await?.event.data;
    ensure!(failed.kind == OutcomeKind::Failed, "{failed:#?}");
    let deleted = environment.receiver.wait_for(namespace, "deleted", SOON, is_final).await?.event.data;
    ensure!(deleted.kind == OutcomeKind::Lost && deleted.reason == reason::JOB_DELETED, "{deleted:#?}");
    for job in ["fails", "deleted"] {
        wait::until_gone::<Job>(client, namespace, job, SOON).await?;
    }
    wait::until_gone::<Pod>(client, namespace, &pod, SOON).await?;

    // Lists alone make no worker lost. That nothing happens takes as long as a loss would.
    sleep((environment.settings.lost_after + INTERVAL).saturating_sub(started.elapsed())).await;
    reaper_api::until_reported_alive(client, namespace, "lives", SOON).await?;
    let reported: Vec<_> = environment.receiver.about(namespace, "lives").into_iter().map(|it| it.event.data).collect();
    ensure!(reported.iter().all(|data| !data.kind.is_final()), "{reported:#?}");
    let job = jobs.get("lives").await.context("the Job whose worker lives was deleted")?;
    ensure!(job.status.is_none_or(|status| status.conditions.is_none()), "the Job whose worker lives has ended");
    Ok(())
}

fn is_final(event: &CloudEvent) -> bool {
    event.data.kind.is_final()
}
