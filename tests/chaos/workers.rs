//! Workers that end, and Jobs that are stopped and started.

use std::time::Duration;

use anyhow::ensure;
use jobwarden_common::names::{annotation, reason};
use jobwarden_common::notification::{Cause, CauseKind, OutcomeKind};
use jobwarden_tests::bed::Bed;
use jobwarden_tests::ground::{ENDLESS, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use jobwarden_tests::wait;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::Outcome;
use crate::scene::{BACKOFF_LIMIT_EXCEEDED, Scene};

/// An image that no registry has; `.invalid` names no host (RFC 2606).
const NO_IMAGE: &str = "registry.invalid/nothing:none";

pub(crate) async fn a_worker_killed_by_a_signal_is_told_once_with_that_cause(bed: &Bed) -> Outcome {
    let mut scene = Scene::open(bed, "sigkill").await?;
    let running = scene.start(&Worker::new("killed", 4, ENDLESS).on_node(HOME)).await?;
    running.process.signal(Signal::SIGKILL)?;
    let cause = failed(&mut scene, "killed").await?;
    ensure!(cause.kind == Some(CauseKind::Signal) && cause.signal.as_deref() == Some("SIGKILL"), "{cause:?}");
    scene.close().await
}

pub(crate) async fn a_worker_out_of_memory_is_told_once_with_that_cause(bed: &Bed) -> Outcome {
    let mut scene = Scene::open(bed, "oom").await?;
    scene.submit(&Worker::new("hungry", 256, ENDLESS).on_node(HOME).at_most(32)).await?;
    let cause = failed(&mut scene, "hungry").await?;
    ensure!(cause.kind == Some(CauseKind::OomKilled) && cause.container.as_deref() == Some("worker"), "{cause:?}");
    scene.close().await
}

pub(crate) async fn a_worker_that_exits_3_is_told_once_with_that_cause(bed: &Bed) -> Outcome {
    let mut scene = Scene::open(bed, "exits").await?;
    scene.submit(&Worker::new("three", 4, Duration::from_secs(3)).on_node(HOME).argument("--exit=3")).await?;
    let cause = failed(&mut scene, "three").await?;
    ensure!(cause.kind == Some(CauseKind::ExitCode) && cause.exit_code == Some(3), "{cause:?}");
    scene.close().await
}

pub(crate) async fn an_image_that_does_not_exist_is_told_after_start_timeout(bed: &Bed) -> Outcome {
    let mut scene = Scene::open(bed, "image").await?;
    scene.ground.past_warm_up().await?;
    let start_timeout = Duration::from_secs(20);
    let worker = Worker::new("imageless", 4, ENDLESS)
        .on_node(HOME)
        .image(NO_IMAGE)
        .annotation(annotation::START_TIMEOUT, &format!("{}s", start_timeout.as_secs()));
    scene.submit(&worker).await?;
    let within = start_timeout + SOON;
    let told = scene.told("imageless", OutcomeKind::Lost, reason::IMAGE_PULL_FAILED, within).await?;
    ensure!(told.event.data.decided_by.row == "P3", "{:#?}", told.event.data);
    ensure!(told.event.data.message.contains(NO_IMAGE), "{}", told.event.data.message);
    scene.close().await
}

pub(crate) async fn a_suspended_and_resumed_job_is_told_once_when_it_succeeds(bed: &Bed) -> Outcome {
    let mut scene = Scene::open(bed, "resumed").await?;
    let first = scene.start(&Worker::new("paused", 4, ENDLESS).on_node(HOME)).await?;
    scene.set("paused", json!({"suspend": true})).await?;
    let name = first.pod.name_any();
    wait::until_gone::<Pod>(&scene.ground.client, scene.namespace(), &name, SOON).await?;
    scene.set("paused", json!({"suspend": false})).await?;
    let second = wait::until_running(&scene.ground.client, scene.namespace(), "paused", &[&name], SOON).await?;
    scene.ground.finish(scene.namespace(), &second).await?;
    scene.succeeds("paused", SOON).await?;
    scene.close().await
}

/// Waits until the Job is told to have failed by Kubernetes' own account, and returns why.
async fn failed(scene: &mut Scene<'_>, job: &str) -> anyhow::Result<Cause> {
    let told = scene.told(job, OutcomeKind::Failed, BACKOFF_LIMIT_EXCEEDED, SOON).await?;
    Ok(told.event.data.cause)
}
