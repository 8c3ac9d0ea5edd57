//! Witnesses that cannot reach the reaper, although nothing is wrong with the worker.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{port, reason};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::cluster::Wall;
use jobwarden_tests::ground::SOON;
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use tokio::time::sleep;

use crate::Outcome;
use crate::bed::{Bed, LOST_AFTER};
use crate::scene::Scene;

/// Long enough for all that is done to it, and little more.
const OUTLASTING: Duration = Duration::from_secs(75);

pub(crate) async fn a_worker_whose_sidecar_is_walled_off_is_seen_by_the_agent(bed: &Bed) -> Outcome {
    let mut scene = Scene::open(bed, "walled").await?;
    let running = scene.start(&Worker::new("mute", 4, OUTLASTING).on_node(HOME)).await?;
    let address = running.pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()).context("it has an address")?;
    let wall = Wall::Pod(address.parse()?);
    scene.ground.cluster.raise(HOME, wall).await?;
    let event = scene.event("mute", reason::SIDECAR_FAULT, SOON).await;
    // What is shown is that nothing more happens, so time has to pass.
    sleep(LOST_AFTER).await;
    scene.ground.cluster.lower(HOME, wall).await?;
    event?;
    ensure!(running.process.is_alive(), "the worker has ended too early to show anything");
    scene.succeeds("mute", OUTLASTING).await?;
    scene.close().await
}

pub(crate) async fn a_worker_that_nobody_hears_on_a_well_node_is_unseen_and_never_lost(bed: &Bed) -> Outcome {
    let mut scene = Scene::open(bed, "unseen").await?;
    let node = scene.ground.lease_node().await?;
    let running = scene.start(&Worker::new("hidden", 4, OUTLASTING).on_node(node.name())).await?;
    let wall = Wall::Port(port::REAPER);
    scene.ground.cluster.raise(node.name(), wall).await?;
    let told = scene.told("hidden", OutcomeKind::Suspect, reason::UNSEEN, LOST_AFTER + SOON).await;
    sleep(LOST_AFTER / 2).await;
    scene.ground.cluster.lower(node.name(), wall).await?;
    let message = told?.event.data.message;
    ensure!(message.contains("NetworkPolicy"), "there is no advice: {message}");
    ensure!(running.process.is_alive(), "the worker has ended too early to show anything");
    scene.succeeds("hidden", OUTLASTING).await?;
    scene.close().await
}
