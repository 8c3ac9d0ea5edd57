//! Nodes that crash, are cut off, vanish, are tainted, or lose their kubelet or runtime.

use std::time::{Duration, Instant};

use anyhow::ensure;
use jobwarden_common::names::{annotation, reason};
use jobwarden_common::notification::{CauseKind, OutcomeKind};
use jobwarden_tests::bed::Bed;
use jobwarden_tests::ground::{ENDLESS, SOON};
use jobwarden_tests::job::{Worker, finish};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::DeleteParams;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::scene::{BACKOFF_LIMIT_EXCEEDED, LOST, Scene};
use crate::{LOST_AFTER, Outcome};

/// What lost-after is where nobody says anything.
const DEFAULT_LOST_AFTER: Duration = Duration::from_mins(2);

pub(crate) async fn a_worker_on_a_crashed_node_is_told_within_lost_after_and_two_seconds(bed: &Bed) -> Outcome {
    is_told_after_a_crash(bed, "crash", doomed(), LOST_AFTER).await
}

pub(crate) async fn with_the_default_lost_after_a_crash_is_told_within_it_and_two_seconds(bed: &Bed) -> Outcome {
    let doomed = doomed().annotation(annotation::LOST_AFTER, "2m");
    is_told_after_a_crash(bed, "crash-by-default", doomed, DEFAULT_LOST_AFTER).await
}

fn doomed() -> Worker {
    Worker::new("doomed", 4, ENDLESS)
}

async fn is_told_after_a_crash(bed: &Bed, name: &str, doomed: Worker, lost_after: Duration) -> Outcome {
    let mut scene = Scene::open(bed, name).await?;
    let node = scene.ground.lease_node().await?;
    scene.start(&doomed.on_node(node.name())).await?;
    scene.ground.past_warm_up().await?;
    // No sign of life is later than this.
    let crashed = Instant::now();
    scene.ground.cluster.crash(node.name()).await?;
    let within = lost_after + Duration::from_secs(2);
    let told = scene.told_in_time("doomed", LOST.0, LOST.1, (crashed, within)).await?;
    ensure!(told.event.data.decided_by.row == "P8", "{:#?}", told.event.data);
    scene.ground.cluster.start_node(node.name()).await?;
    scene.is_well_again(&node).await?;
    scene.close().await
}

pub(crate) async fn a_node_deleted_after_its_crash_is_told_as_node_gone_within_30_s(bed: &Bed) -> Outcome {
    let mut scene = Scene::open(bed, "gone").await?;
    let node = scene.ground.lease_node().await?;
    scene.start(&Worker::new("homeless", 4, ENDLESS).on_node(node.name())).await?;
    scene.ground.past_warm_up().await?;
    scene.ground.cluster.crash(node.name()).await?;
    let deleted = Instant::now();
    let nodes = Api::<Node>::all(scene.ground.client.clone());
    nodes.delete(node.name(), &DeleteParams::default()).await?;
    let within = Duration::from_secs(30);
    let told = scene.told_in_time("homeless", OutcomeKind::Lost, reason::NODE_GONE, (deleted, within)).await?;
    ensure!(told.event.data.decided_by.row == "P2", "{:#?}", told.event.data);
    scene.ground.cluster.start_node(node.name()).await?;
    scene.is_well_again(&node).await?;
    scene.close().await
}

pub(crate) async fn a_partition_that_heals_before_lost_after_touches_nothing(bed: &Bed) -> Outcome {
    let node = bed.ground().await?.lease_node().await?;
    let mut scene = Scene::beside(bed, "heals", node.name()).await?;
    let running = scene.start(&Worker::new("cut-off", 4, ENDLESS).on_node(node.name())).await?;
    scene.ground.cluster.partition(node.name()).await?;
    // What is shown is that nothing happens, so time has to pass.
    sleep(LOST_AFTER / 2).await;
    scene.ground.cluster.heal(node.name()).await?;
    scene.is_well_again(&node).await?;
    finish(running.process)?;
    scene.succeeds("cut-off", SOON).await?;
    scene.close().await
}

pub(crate) async fn a_worker_that_ends_without_a_kubelet_is_told_as_outcome_unknown(bed: &Bed) -> Outcome {
    let node = bed.ground().await?.lease_node().await?;
    let mut scene = Scene::beside(bed, "no-kubelet", node.name()).await?;
    let running = scene.start(&Worker::new("unwitnessed", 4, ENDLESS).on_node(node.name())).await?;
    let stopped = Instant::now();
    scene.ground.cluster.stop_kubelet(node.name()).await?;
    // The worker outlives the Lease, and ends only then.
    sleep(LOST_AFTER).await;
    finish(running.process)?;
    // The Lease has not changed since.
    let within = LOST_AFTER + Duration::from_secs(30);
    let bound = (stopped, within);
    let told = scene.told_in_time("unwitnessed", OutcomeKind::Lost, reason::OUTCOME_UNKNOWN, bound).await?;
    ensure!(!running.process.is_alive(), "the worker lives");
    ensure!(told.event.data.decided_by.row == "P5", "{:#?}", told.event.data);
    scene.ground.cluster.start_kubelet(node.name()).await?;
    scene.is_well_again(&node).await?;
    scene.close().await
}

pub(crate) async fn a_worker_killed_under_a_hung_runtime_is_told_as_process_gone_within_100_s(bed: &Bed) -> Outcome {
    let node = bed.ground().await?.lease_node().await?;
    let mut scene = Scene::beside(bed, "hung", node.name()).await?;
    let running = scene.start(&Worker::new("unburied", 4, ENDLESS).on_node(node.name())).await?;
    // The kubelet, which can ask nobody, goes on saying that the container runs.
    scene.ground.cluster.freeze_runtime(node.name()).await?;
    let killed = Instant::now();
    running.process.signal(Signal::SIGKILL)?;
    let bound = (killed, Duration::from_secs(100));
    let told = scene.told_in_time("unburied", OutcomeKind::Lost, reason::PROCESS_GONE, bound).await;
    scene.ground.cluster.thaw_runtime(node.name()).await?;
    let told = told?;
    ensure!(told.event.data.decided_by.row == "P4", "{:#?}", told.event.data);
    scene.is_well_again(&node).await?;
    scene.close().await
}

pub(crate) async fn a_pod_evicted_by_a_taint_is_told_once_with_that_cause(bed: &Bed) -> Outcome {
    let mut scene = Scene::open(bed, "taint").await?;
    let node = scene.ground.lease_node().await?;
    scene.start(&Worker::new("evicted", 4, ENDLESS).on_node(node.name())).await?;
    let taint = "chaos=yes:NoExecute";
    scene.ground.cluster.kubectl(["taint", "node", node.name(), taint]).await?;
    let told = scene.told("evicted", OutcomeKind::Failed, BACKOFF_LIMIT_EXCEEDED, SOON).await;
    scene.ground.cluster.kubectl(["taint", "node", node.name(), &format!("{taint}-")]).await?;
    let cause = told?.event.data.cause;
    ensure!(cause.kind == Some(CauseKind::Tainted), "{cause:?}");
    scene.close().await
}
