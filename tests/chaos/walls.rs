//! Witnesses that cannot reach the reaper, although nothing is wrong with the worker.

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{port, reason};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::bed::Bed;
use jobwarden_tests::cluster::Wall;
use jobwarden_tests::ground::{ENDLESS, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::{Worker, finish};
use tokio::time::sleep;

use crate::scene::Scene;
use crate::{LOST_AFTER, Outcome};

pub(crate) async fn a_worker_whose_sidecar_is_walled_off_is_seen_by_the_agent(bed: &Bed) -> Outcome {
    let mut scene = Scene::open(bed, "walled").await?;
    let running = scene.start(&Worker::new("mute", 4, ENDLESS).on_node(HOME)).await?;
    let address = running.pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()).context("it has an address")?;
    let wall = Wall::Pod(address.parse()?);
    scene.ground.cluster.raise(HOME, wall).await?;
    let event = scene.event("mute", reason::SIDECAR_FAULT, SOON).await;
    // What is shown is that nothing more happens, so time has to pass.
    sleep(LOST_AFTER).await;
    scene.ground.cluster.lower(HOME, wall).await?;
    event?;
    finish(running.process)?;
    scene.succeeds("mute", SOON).await?;
    scene.close().await
}

pub(crate) async fn a_worker_that_nobody_hears_on_a_well_node_is_unseen_and_never_lost(bed: &Bed) -> Outcome {
    let mut scene = Scene::open(bed, "unseen").await?;
    let node = scene.ground.lease_node().await?;
    let running = scene.start(&Worker::new("hidden", 4, ENDLESS).on_node(node.name())).await?;
    let wall = Wall::Port(port::REAPER);
    scene.ground.cluster.raise(node.name(), wall).await?;
    let told = scene.told("hidden", OutcomeKind::Suspect, reason::UNSEEN, LOST_AFTER + SOON).await;
    sleep(LOST_AFTER / 2).await;
    scene.ground.cluster.lower(node.name(), wall).await?;
    let message = told?.event.data.message;
    ensure!(message.contains("NetworkPolicy"), "there is no advice: {message}");
    finish(running.process)?;
    scene.succeeds("hidden", SOON).await?;
    scene.close().await
}
