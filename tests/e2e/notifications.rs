//! Every outcome reaches the orchestrator, even if a receiver or a leader fails.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::reason;
use jobwarden_common::notification::{CloudEvent, OutcomeKind};
use jobwarden_tests::environment::{ENDLESS, SOON};
use jobwarden_tests::install::{HOME, NAMESPACE};
use jobwarden_tests::job::Worker;
use jobwarden_tests::receiver::Answer;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{metrics, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use nix::sys::signal::Signal;

pub(crate) async fn a_deleted_job_is_reported_and_its_pods_are_gone_within_ten_seconds(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("deleted").await?;
    let worker = Worker::new("deleted", 8, ENDLESS).on_node(HOME);
    environment.submit(namespace.name(), &worker).await?;
    let pod = wait::until_running(&environment.client, namespace.name(), "deleted", &[], SOON).await?;
    let jobs = Api::<Job>::namespaced(environment.client.clone(), namespace.name());
    let deleted = Instant::now();
    jobs.delete("deleted", &DeleteParams::background()).await.context("deleting the Job")?;
    wait::until_gone::<Pod>(&environment.client, namespace.name(), &pod.name_any(), SOON).await?;
    let took = deleted.elapsed();
    ensure!(took <= Duration::from_secs(10), "the pod was gone {took:?} after its Job was deleted");
    wait::until_gone::<Job>(&environment.client, namespace.name(), "deleted", SOON).await?;
    let notification =
        environment.receiver.wait_for(namespace.name(), "deleted", SOON, |event| event.data.kind.is_final()).await?;
    let data = &notification.event.data;
    ensure!(data.kind == OutcomeKind::Lost && data.reason == reason::JOB_DELETED, "{data:#?}");
    Ok(())
}

pub(crate) async fn a_receiver_outage_of_thirty_seconds_loses_no_notification(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("down").await?;
    environment.receiver.answer(Answer::Unavailable);
    let names: Vec<String> = (0..5).map(|number| format!("job-{number}")).collect();
    for name in &names {
        environment.submit(namespace.name(), &Worker::new(name, 4, Duration::from_secs(1)).on_node(HOME)).await?;
    }
    for name in &names {
        wait::until_job(&environment.client, namespace.name(), name, "Complete", SOON).await?;
    }
    environment.receiver.wait_until_delivery_failed(|_| true, SOON).await?;
    // The outage itself.
    tokio::time::sleep(Duration::from_secs(30)).await;
    for name in &names {
        ensure!(
            environment.receiver.about(namespace.name(), name).is_empty(),
            "the notification about {name} was acknowledged during the outage"
        );
    }
    environment.receiver.answer(Answer::Acknowledge);
    for name in &names {
        let notification = environment.receiver.wait_for(namespace.name(), name, SOON, succeeded).await?;
        ensure!(notification.deliveries == 1, "{name} was delivered {} times", notification.deliveries);
    }
    Ok(())
}

pub(crate) async fn a_notification_is_delivered_after_its_leader_is_killed(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("leader").await?;
    // The receiver never responds, so the leader is killed between its verdict and the acknowledgement.
    environment.receiver.answer(Answer::Hang);
    let job =
        environment.submit(namespace.name(), &Worker::new("finished", 4, Duration::from_secs(1)).on_node(HOME)).await?;
    let uid = job.uid().context("the Job has no UID")?;
    environment.receiver.wait_until_delivery_failed(|id| id.contains(&uid), SOON * 2).await?;
    let leader = metrics::leader(&environment.client).await?.name_any();
    environment.cluster.kill_process_in(NAMESPACE, &leader, "reaper", Signal::SIGKILL).await?;
    environment.receiver.answer(Answer::Acknowledge);
    let notification = environment.receiver.wait_for(namespace.name(), "finished", SOON * 2, succeeded).await?;
    ensure!(notification.deliveries == 1, "the notification was acknowledged {} times", notification.deliveries);
    wait::until_gone::<Job>(&environment.client, namespace.name(), "finished", SOON).await
}

fn succeeded(event: &CloudEvent) -> bool {
    event.data.kind == OutcomeKind::Succeeded
}
