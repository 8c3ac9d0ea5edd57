//! The API server or etcd is away.

use std::time::Duration;

use anyhow::ensure;
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::bed::Bed;
use jobwarden_tests::ground::{ENDLESS, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::{Worker, finish};
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::scene::{BACKOFF_LIMIT_EXCEEDED, LOST, Scene};
use crate::{LOST_AFTER, Outcome};

/// How long Kubernetes' own controllers may take after an API server that was away is back: the pauses between their attempts
/// double up to 30 s and are stretched up to twofold (client-go, `tools/cache/reflector.go`), and what they do then takes a while.
const CONTROLLERS: Duration = Duration::from_mins(2);

pub(crate) async fn a_restart_of_etcd_touches_nothing(bed: &Bed) -> Outcome {
    let node = bed.ground().await?.lease_node().await?;
    let mut scene = Scene::beside(bed, "etcd", node.name()).await?;
    let running = scene.start(&Worker::new("worked", 4, ENDLESS).on_node(node.name())).await?;
    scene.ground.cluster.restart_etcd().await?;
    finish(running.process)?;
    scene.succeeds("worked", SOON).await?;
    scene.close().await
}

pub(crate) async fn an_api_server_that_is_down_for_a_minute_delays_and_touches_nothing(bed: &Bed) -> Outcome {
    let node = bed.ground().await?.lease_node().await?;
    let mut scene = Scene::open(bed, "api-down").await?;
    let lost = scene.start(&Worker::new("lost", 4, ENDLESS).on_node(node.name())).await?;
    let killed = scene.start(&Worker::new("killed", 4, ENDLESS).on_node(HOME)).await?;
    let done = scene.start(&Worker::new("done", 4, ENDLESS).on_node(HOME)).await?;
    scene.ground.cluster.stop_api_server().await?;
    killed.process.signal(Signal::SIGKILL)?;
    finish(done.process)?;
    scene.ground.cluster.crash(node.name()).await?;
    // The outage itself.
    sleep(2 * LOST_AFTER).await;
    ensure!(!done.process.is_alive() && !lost.process.is_alive(), "workers outlived their end");
    scene.ground.cluster.start_api_server().await?;
    scene.told("killed", OutcomeKind::Failed, BACKOFF_LIMIT_EXCEEDED, CONTROLLERS + SOON).await?;
    scene.succeeds("done", CONTROLLERS).await?;
    // The clock stood still while the reaper heard nothing of the API server; a new leader hears once its endpoint is known.
    scene.told("lost", LOST.0, LOST.1, CONTROLLERS + LOST_AFTER + SOON).await?;
    scene.ground.cluster.start_node(node.name()).await?;
    scene.is_well_again(&node).await?;
    scene.close().await
}
