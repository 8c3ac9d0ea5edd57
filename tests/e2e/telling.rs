//! The orchestrator hears of every outcome, whatever dies on the way.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::reason;
use jobwarden_common::notification::{CloudEvent, OutcomeKind};
use jobwarden_tests::bed::Bed;
use jobwarden_tests::ground::{ENDLESS, SOON};
use jobwarden_tests::install::{HOME, NAMESPACE};
use jobwarden_tests::job::Worker;
use jobwarden_tests::receiver::Answer;
use jobwarden_tests::{metrics, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use nix::sys::signal::Signal;

use crate::Outcome;

pub(crate) async fn a_job_deleted_by_hand_is_reported_and_its_pods_go_within_ten_seconds(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("deleted").await?;
    let worker = Worker::new("unwanted", 8, ENDLESS).on_node(HOME);
    ground.submit(namespace.name(), &worker).await?;
    let pod = wait::until_running(&ground.client, namespace.name(), "unwanted", &[], SOON).await?;
    let jobs = Api::<Job>::namespaced(ground.client.clone(), namespace.name());
    let deleted = Instant::now();
    jobs.delete("unwanted", &DeleteParams::background()).await.context("deleting the Job")?;
    wait::until_gone::<Pod>(&ground.client, namespace.name(), &pod.name_any(), SOON).await?;
    let took = deleted.elapsed();
    ensure!(took <= Duration::from_secs(10), "the pod was gone only {took:?} after its Job");
    wait::until_gone::<Job>(&ground.client, namespace.name(), "unwanted", SOON).await?;
    let told = ground.receiver.wait_for(namespace.name(), "unwanted", SOON, |event| event.data.kind.is_final()).await?;
    let data = &told.event.data;
    ensure!(data.kind == OutcomeKind::Lost && data.reason == reason::JOB_DELETED, "{data:#?}");
    Ok(())
}

pub(crate) async fn a_receiver_that_is_down_for_thirty_seconds_loses_nothing(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("down").await?;
    ground.receiver.answer(Answer::Unavailable);
    let names: Vec<String> = (0..5).map(|number| format!("job-{number}")).collect();
    for name in &names {
        ground.submit(namespace.name(), &Worker::new(name, 4, Duration::from_secs(1)).on_node(HOME)).await?;
    }
    for name in &names {
        wait::until_job(&ground.client, namespace.name(), name, "Complete", SOON).await?;
    }
    ground.receiver.wait_until_turned_away(|_| true, SOON).await?;
    // The outage itself.
    tokio::time::sleep(Duration::from_secs(30)).await;
    for name in &names {
        ensure!(
            ground.receiver.about(namespace.name(), name).is_empty(),
            "{name} was acknowledged by a receiver that is down"
        );
    }
    ground.receiver.answer(Answer::Acknowledge);
    for name in &names {
        let told = ground.receiver.wait_for(namespace.name(), name, SOON, succeeded).await?;
        ensure!(told.deliveries == 1, "{name} was delivered {} times", told.deliveries);
    }
    Ok(())
}

pub(crate) async fn a_leader_killed_between_verdict_and_delivery_still_delivers(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("leader").await?;
    // The receiver takes the notification and never answers: the leader is now between verdict and acknowledgement.
    ground.receiver.answer(Answer::Hang);
    let job =
        ground.submit(namespace.name(), &Worker::new("told-late", 4, Duration::from_secs(1)).on_node(HOME)).await?;
    let uid = job.uid().context("a created Job has a UID")?;
    ground.receiver.wait_until_turned_away(|id| id.contains(&uid), SOON * 2).await?;
    let leader = metrics::leader(&ground.client).await?.name_any();
    ground.cluster.kill_process_in(NAMESPACE, &leader, "reaper", Signal::SIGKILL).await?;
    ground.receiver.answer(Answer::Acknowledge);
    let told = ground.receiver.wait_for(namespace.name(), "told-late", SOON * 2, succeeded).await?;
    ensure!(told.deliveries == 1, "it was acknowledged {} times", told.deliveries);
    wait::until_gone::<Job>(&ground.client, namespace.name(), "told-late", SOON).await
}

fn succeeded(event: &CloudEvent) -> bool {
    event.data.kind == OutcomeKind::Succeeded
}
