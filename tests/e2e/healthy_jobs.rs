//! Healthy Jobs are left alone.

use std::time::Duration;

use anyhow::ensure;
use jobwarden_common::names::SIDECAR_CONTAINER;
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::environment::{ENDLESS, SOON};
use jobwarden_tests::install::{HOME, Settings};
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use nix::sys::signal::Signal;

pub(crate) async fn a_job_with_a_sidecar_completes(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("completes").await?;
    let worker = Worker::new("short", 8, Duration::from_secs(3)).on_node(HOME).label("run-id", "9");
    environment.submit(namespace.name(), &worker).await?;
    wait::until_job(&environment.client, namespace.name(), "short", "Complete", SOON).await?;
    let notification = environment
        .receiver
        .wait_for(namespace.name(), "short", SOON, |event| event.data.kind == OutcomeKind::Succeeded)
        .await?;
    ensure!(
        notification.event.data.run_id.as_ref().is_some_and(|id| id.as_str() == "9"),
        "{:?}",
        notification.event.data
    );
    wait::until_gone::<Job>(&environment.client, namespace.name(), "short", SOON).await
}

pub(crate) async fn a_killed_sidecar_does_not_fail_its_job(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("sidecar").await?;
    let worker = Worker::new("long", 8, ENDLESS).on_node(HOME);
    environment.submit(namespace.name(), &worker).await?;
    let pod = wait::until_running(&environment.client, namespace.name(), "long", &[], SOON).await?;
    environment.cluster.kill_process_in(namespace.name(), &pod.name_any(), SIDECAR_CONTAINER, Signal::SIGKILL).await?;
    let restarted = |pod: Option<&Pod>| {
        let statuses = pod.and_then(|pod| pod.status.as_ref()?.init_container_statuses.as_ref());
        statuses.is_some_and(|all| all.iter().any(|it| it.name == SIDECAR_CONTAINER && it.restart_count > 0))
    };
    wait::until(
        &environment.client,
        namespace.name(),
        &pod.name_any(),
        SOON,
        "running with a restarted sidecar",
        restarted,
    )
    .await?;
    environment.finish(namespace.name(), &pod).await?;
    wait::until_job(&environment.client, namespace.name(), "long", "Complete", SOON).await?;
    environment
        .receiver
        .wait_for(namespace.name(), "long", SOON, |event| event.data.kind == OutcomeKind::Succeeded)
        .await?;
    let kinds: Vec<_> =
        environment.receiver.about(namespace.name(), "long").iter().map(|it| it.event.data.kind).collect();
    ensure!(kinds == [OutcomeKind::Succeeded], "{kinds:?}");
    Ok(())
}

pub(crate) async fn a_suspended_job_is_left_alone(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("suspended").await?;
    // Shorter than this test, so that a Job that is not suspended would exceed it without a pod.
    let worker = Worker::new("paused", 8, Duration::from_secs(2))
        .on_node(HOME)
        .annotation(jobwarden_common::names::annotation::START_TIMEOUT, "15s")
        .suspended();
    environment.submit(namespace.name(), &worker).await?;
    // The test shows that nothing happens, so it has to let time pass: lost-after and a little more.
    tokio::time::sleep(Settings::default().lost_after + Duration::from_secs(5)).await;
    let job = Api::<Job>::namespaced(environment.client.clone(), namespace.name()).get("paused").await?;
    ensure!(wait::reason_of(Some(&job), "FailureTarget").is_none(), "{:?}", job.status);
    ensure!(environment.receiver.about(namespace.name(), "paused").is_empty(), "a notification was sent");
    let resume = serde_json::json!({"spec": {"suspend": false}});
    Api::<Job>::namespaced(environment.client.clone(), namespace.name())
        .patch("paused", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(resume))
        .await?;
    wait::until_job(&environment.client, namespace.name(), "paused", "Complete", SOON).await.map(drop)
}
