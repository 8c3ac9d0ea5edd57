//! jobwarden itself is harmed.

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{object, reason};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::bed::Bed;
use jobwarden_tests::ground::{ENDLESS, SOON};
use jobwarden_tests::harm;
use jobwarden_tests::install::{HOME, NAMESPACE};
use jobwarden_tests::job::{Worker, finish};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::DeleteParams;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::scene::{BACKOFF_LIMIT_EXCEEDED, LOST, Scene};
use crate::{LOST_AFTER, Outcome};

pub(crate) async fn a_loss_that_its_leader_does_not_live_to_see_is_told_once_by_the_next(bed: &Bed) -> Outcome {
    let mut scene = Scene::open(bed, "failover").await?;
    let node = scene.ground.lease_node().await?;
    scene.start(&Worker::new("inherited", 4, ENDLESS).on_node(node.name())).await?;
    scene.ground.cluster.crash(node.name()).await?;
    sleep(LOST_AFTER / 2).await;
    let killed = leader(&scene).await?;
    harm::kill_leader(&scene.ground.cluster).await?;
    // The next one leads after a lease, and then listens for lost-after before it does anything.
    scene.told("inherited", LOST.0, LOST.1, LOST_AFTER + SOON).await?;
    ensure!(leader(&scene).await? != killed, "nobody has taken over");
    scene.ground.cluster.start_node(node.name()).await?;
    scene.is_well_again(&node).await?;
    scene.close().await
}

/// The process that leads, or last did. It may be followed by the one that the kubelet starts in its place.
async fn leader(scene: &Scene<'_>) -> anyhow::Result<String> {
    let leases = Api::<Lease>::namespaced(scene.ground.client.clone(), NAMESPACE);
    let spec = leases.get(object::REAPER_LEASE).await?.spec;
    spec.and_then(|spec| spec.holder_identity).context("the reapers' Lease has a holder")
}

pub(crate) async fn without_agents_no_living_worker_is_touched(bed: &Bed) -> Outcome {
    let node = bed.ground().await?.lease_node().await?;
    let mut scene = Scene::beside(bed, "agentless", node.name()).await?;
    let steady = scene.start(&Worker::new("steady", 4, ENDLESS).on_node(node.name())).await?;
    let killed = scene.start(&Worker::new("killed", 4, ENDLESS).on_node(node.name())).await?;
    harm::run_agents(&scene.ground.cluster, false).await?;
    killed.process.signal(Signal::SIGKILL)?;
    let told = scene.told("killed", OutcomeKind::Failed, BACKOFF_LIMIT_EXCEEDED, SOON).await;
    // What is shown is that nothing happens, so time has to pass.
    sleep(LOST_AFTER).await;
    harm::run_agents(&scene.ground.cluster, true).await?;
    told?;
    finish(steady.process)?;
    scene.succeeds("steady", SOON).await?;
    scene.close().await
}

pub(crate) async fn what_happens_while_every_reaper_is_down_is_told_once_afterwards(bed: &Bed) -> Outcome {
    let mut scene = Scene::open(bed, "reaperless").await?;
    let node = scene.ground.lease_node().await?;
    scene.start(&Worker::new("crashed", 4, ENDLESS).on_node(node.name())).await?;
    scene.start(&Worker::new("deleted", 4, ENDLESS).on_node(HOME)).await?;
    let killed = scene.start(&Worker::new("killed", 4, ENDLESS).on_node(HOME)).await?;
    harm::scale_reapers(&scene.ground.cluster, 0).await?;
    scene.ground.cluster.crash(node.name()).await?;
    killed.process.signal(Signal::SIGKILL)?;
    let jobs = Api::<Job>::namespaced(scene.ground.client.clone(), scene.namespace());
    jobs.delete("deleted", &DeleteParams::background()).await?;
    // The outage itself.
    sleep(2 * LOST_AFTER).await;
    harm::scale_reapers(&scene.ground.cluster, 2).await?;
    scene.told("killed", OutcomeKind::Failed, BACKOFF_LIMIT_EXCEEDED, SOON).await?;
    scene.told("deleted", OutcomeKind::Lost, reason::JOB_DELETED, SOON).await?;
    scene.told("crashed", LOST.0, LOST.1, LOST_AFTER + SOON).await?;
    scene.ground.cluster.start_node(node.name()).await?;
    scene.is_well_again(&node).await?;
    scene.close().await
}
