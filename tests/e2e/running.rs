//! Jobs that run as they should are not touched.

use std::time::Duration;

use anyhow::ensure;
use jobwarden_common::names::SIDECAR_CONTAINER;
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::bed::Bed;
use jobwarden_tests::ground::{ENDLESS, SOON};
use jobwarden_tests::install::{HOME, Settings};
use jobwarden_tests::job::Worker;
use jobwarden_tests::wait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use nix::sys::signal::Signal;

use crate::Outcome;

pub(crate) async fn a_job_completes_although_it_has_a_sidecar(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("completes").await?;
    let worker = Worker::new("short", 8, Duration::from_secs(3)).on_node(HOME).label("run-id", "9");
    ground.submit(namespace.name(), &worker).await?;
    wait::until_job(&ground.client, namespace.name(), "short", "Complete", SOON).await?;
    let told = ground
        .receiver
        .wait_for(namespace.name(), "short", SOON, |event| event.data.kind == OutcomeKind::Succeeded)
        .await?;
    ensure!(told.event.data.run_id.as_ref().is_some_and(|id| id.as_str() == "9"), "{:?}", told.event.data);
    wait::until_gone::<Job>(&ground.client, namespace.name(), "short", SOON).await
}

pub(crate) async fn a_killed_sidecar_alone_fails_nothing(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("sidecar").await?;
    let worker = Worker::new("long", 8, ENDLESS).on_node(HOME);
    ground.submit(namespace.name(), &worker).await?;
    let pod = wait::until_running(&ground.client, namespace.name(), "long", &[], SOON).await?;
    ground.cluster.kill_process_in(namespace.name(), &pod.name_any(), SIDECAR_CONTAINER, Signal::SIGKILL).await?;
    let restarted = |pod: Option<&Pod>| {
        let statuses = pod.and_then(|pod| pod.status.as_ref()?.init_container_statuses.as_ref());
        statuses.is_some_and(|all| all.iter().any(|it| it.name == SIDECAR_CONTAINER && it.restart_count > 0))
    };
    wait::until(&ground.client, namespace.name(), &pod.name_any(), SOON, "has a new sidecar", restarted).await?;
    ground.finish(namespace.name(), &pod).await?;
    wait::until_job(&ground.client, namespace.name(), "long", "Complete", SOON).await?;
    ground.receiver.wait_for(namespace.name(), "long", SOON, |event| event.data.kind == OutcomeKind::Succeeded).await?;
    let kinds: Vec<_> = ground.receiver.about(namespace.name(), "long").iter().map(|it| it.event.data.kind).collect();
    ensure!(kinds == [OutcomeKind::Succeeded], "{kinds:?}");
    Ok(())
}

pub(crate) async fn a_suspended_job_is_left_alone(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("suspended").await?;
    // With a start-timeout that an open Job without a pod would have outlived by the end of this test.
    let worker = Worker::new("paused", 8, Duration::from_secs(2))
        .on_node(HOME)
        .annotation(jobwarden_common::names::annotation::START_TIMEOUT, "15s")
        .suspended();
    ground.submit(namespace.name(), &worker).await?;
    // What is shown is that nothing happens, so time has to pass: lost-after and a little more.
    tokio::time::sleep(Settings::default().lost_after + Duration::from_secs(5)).await;
    let job = Api::<Job>::namespaced(ground.client.clone(), namespace.name()).get("paused").await?;
    ensure!(wait::reason_of(Some(&job), "FailureTarget").is_none(), "{:?}", job.status);
    ensure!(ground.receiver.about(namespace.name(), "paused").is_empty(), "somebody was told");
    let resume = serde_json::json!({"spec": {"suspend": false}});
    Api::<Job>::namespaced(ground.client.clone(), namespace.name())
        .patch("paused", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(resume))
        .await?;
    wait::until_job(&ground.client, namespace.name(), "paused", "Complete", SOON).await.map(drop)
}
