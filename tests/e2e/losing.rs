//! Nodes that crash, are cut off, or lose their kubelet.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{FINALIZER, annotation, reason};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::bed::Bed;
use jobwarden_tests::cluster::TempNamespace;
use jobwarden_tests::ground::{ENDLESS, Ground, LeasedNode, RECOVERY, SOON};
use jobwarden_tests::install::Settings;
use jobwarden_tests::job::Worker;
use jobwarden_tests::{metrics, reaper, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use crate::Outcome;

/// What a loss may take from the last beat to the notification: the issue of speed, tried with room for a busy machine.
fn told_within() -> Duration {
    Settings::default().lost_after + Duration::from_secs(20)
}

pub(crate) async fn a_live_worker_outlasts_its_stopped_kubelet(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let node = ground.lease_node().await?;
    let namespace = ground.enrolled_namespace("kubelet").await?;
    let pod = start(ground, &namespace, &Worker::new("steady", 8, ENDLESS).on_node(node.name())).await?;
    ground.cluster.stop_kubelet(node.name()).await?;
    // What is shown is that nothing happens, so time has to pass: the Lease's last renewal may be ten seconds away.
    tokio::time::sleep(Settings::default().lost_after + Duration::from_secs(15)).await;
    // Only the beats and the agent speak for the worker now.
    let job = Api::<Job>::namespaced(ground.client.clone(), namespace.name()).get("steady").await?;
    ensure!(wait::reason_of(Some(&job), "FailureTarget").is_none(), "{:?}", job.status);
    ground.cluster.start_kubelet(node.name()).await?;
    ground.finish(namespace.name(), &pod).await?;
    wait::until_job(&ground.client, namespace.name(), "steady", "Complete", RECOVERY).await?;
    let told = |event: &jobwarden_common::notification::CloudEvent| event.data.kind == OutcomeKind::Succeeded;
    ground.receiver.wait_for(namespace.name(), "steady", SOON, told).await?;
    ensure!(
        kinds(ground, &namespace, "steady") == [OutcomeKind::Succeeded],
        "{:?}",
        kinds(ground, &namespace, "steady")
    );
    ground.cluster.wait_for_node(node.name(), true, RECOVERY).await?;
    Ok(())
}

pub(crate) async fn a_crashed_nodes_job_is_failed_reported_and_cleaned(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let node = ground.lease_node().await?;
    let namespace = ground.enrolled_namespace("crash").await?;
    let worker = Worker::new("doomed", 32, ENDLESS).on_node(node.name()).label("run-id", "3");
    let pod = start(ground, &namespace, &worker).await?;
    let touched = 32 << 20;
    let measured =
        |explanation: &Value| explanation["usage"]["peakRssBytes"].as_u64().is_some_and(|peak| peak >= touched);
    reaper::until(&ground.client, namespace.name(), "doomed", SOON, "measured", measured).await?;
    let crashed = Instant::now();
    ground.cluster.crash(node.name()).await?;

    let failed = wait::until_job(&ground.client, namespace.name(), "doomed", "Failed", SOON).await?;
    ensure!(failed == reason::NODE_UNREACHABLE, "the Job is Failed with {failed}");
    let told = ground
        .receiver
        .wait_for(namespace.name(), "doomed", SOON, |event| event.data.kind == OutcomeKind::Lost)
        .await?;
    ensure!(told.at - crashed <= told_within(), "told {:?} after the crash", told.at - crashed);
    let data = &told.event.data;
    ensure!(data.reason == reason::NODE_UNREACHABLE && data.decided_by.row == "P8", "{data:#?}");
    ensure!(data.run_id.as_ref().is_some_and(|id| id.as_str() == "3"), "{data:#?}");
    let attempt = data.attempt.as_ref().context("it names the pod")?;
    ensure!(attempt.pod_name == pod.name_any(), "{attempt:?}");
    ensure!(data.usage.as_ref().is_some_and(|usage| usage.peak_rss_bytes >= touched), "{:?}", data.usage);
    wait::until_gone::<Job>(&ground.client, namespace.name(), "doomed", SOON).await?;
    ensure!(kinds(ground, &namespace, "doomed").iter().filter(|kind| kind.is_final()).count() == 1);

    revive(ground, &node, &namespace, &pod).await
}

pub(crate) async fn a_job_with_retries_left_is_retried_elsewhere_and_reported_as_attempt_failed(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let node = ground.lease_node().await?;
    let namespace = ground.enrolled_namespace("retry").await?;
    // The scheduler goes on using a dead node until Kubernetes calls it not ready, 50 s after the crash: a retry before
    // that would be placed there again.
    let worker =
        Worker::new("again", 8, ENDLESS).near_node(node.name()).annotation(annotation::LOST_AFTER, "60s").retries(2);
    let first = start(ground, &namespace, &worker).await?;
    let placed = first.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    ensure!(placed == Some(node.name()), "the pod runs on {placed:?}, not on {}", node.name());
    ground.cluster.crash(node.name()).await?;

    let told = ground
        .receiver
        .wait_for(namespace.name(), "again", SOON * 2, |event| event.data.kind == OutcomeKind::AttemptFailed)
        .await?;
    ensure!(told.event.data.reason == reason::NODE_UNREACHABLE, "{:#?}", told.event.data);
    let second = wait::until_running(&ground.client, namespace.name(), "again", &[&first.name_any()], SOON).await?;
    ensure!(second.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) != Some(node.name()));
    ground.finish(namespace.name(), &second).await?;
    wait::until_job(&ground.client, namespace.name(), "again", "SuccessCriteriaMet", SOON).await?;
    // Kubernetes counts the Job complete only once the first pod is gone, which takes its node.
    revive(ground, &node, &namespace, &first).await?;
    let told = |event: &jobwarden_common::notification::CloudEvent| event.data.kind == OutcomeKind::Succeeded;
    ground.receiver.wait_for(namespace.name(), "again", RECOVERY, told).await?;
    let kinds = kinds(ground, &namespace, "again");
    ensure!(kinds.iter().all(|kind| *kind != OutcomeKind::Lost), "{kinds:?}");
    Ok(())
}

pub(crate) async fn a_partitioned_nodes_job_is_failed_and_its_leftover_is_told_to_stop(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let node = ground.lease_node().await?;
    let namespace = ground.enrolled_namespace("partition").await?;
    // It ignores SIGTERM, so that the leftover is there to be told.
    let worker = Worker::new("cut-off", 8, ENDLESS).on_node(node.name()).argument("--ignore-term");
    let pod = start(ground, &namespace, &worker).await?;
    let stops_before = stops(ground).await?;
    ground.cluster.partition(node.name()).await?;
    let failed = wait::until_job(&ground.client, namespace.name(), "cut-off", "Failed", SOON).await?;
    ensure!(failed == reason::NODE_UNREACHABLE, "the Job is Failed with {failed}");
    let lost = |event: &jobwarden_common::notification::CloudEvent| event.data.kind == OutcomeKind::Lost;
    ground.receiver.wait_for(namespace.name(), "cut-off", SOON, lost).await?;

    ground.cluster.heal(node.name()).await?;
    let give_up = Instant::now() + SOON;
    while stops(ground).await? <= stops_before {
        ensure!(Instant::now() < give_up, "the leftover was not told to stop");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    wait::until_gone::<Pod>(&ground.client, namespace.name(), &pod.name_any(), RECOVERY).await?;
    let finals: Vec<_> = ground
        .receiver
        .about(namespace.name(), "cut-off")
        .into_iter()
        .filter(|it| it.event.data.kind.is_final())
        .collect();
    ensure!(finals.len() == 1 && finals[0].deliveries == 1, "{finals:#?}");
    ground.cluster.wait_for_node(node.name(), true, RECOVERY).await?;
    Ok(())
}

/// Submits the Job and waits until its worker runs and has been heard, so that there is something to miss.
async fn start(ground: &Ground, namespace: &TempNamespace, worker: &Worker) -> anyhow::Result<Pod> {
    let job = ground.submit(namespace.name(), worker).await?;
    ensure!(job.finalizers().iter().any(|it| it == FINALIZER), "the Job was not enrolled");
    let pod = wait::until_running(&ground.client, namespace.name(), worker.name(), &[], SOON).await?;
    reaper::until_heard(&ground.client, namespace.name(), worker.name(), SOON).await?;
    Ok(pod)
}

/// Boots a crashed node and waits until it has cleared what was left on it.
async fn revive(ground: &Ground, node: &LeasedNode, namespace: &TempNamespace, pod: &Pod) -> Outcome {
    ground.cluster.start_node(node.name()).await?;
    wait::until_gone::<Pod>(&ground.client, namespace.name(), &pod.name_any(), RECOVERY).await?;
    ground.cluster.wait_for_node(node.name(), true, RECOVERY).await?;
    Ok(())
}

fn kinds(ground: &Ground, namespace: &TempNamespace, job: &str) -> Vec<OutcomeKind> {
    ground.receiver.about(namespace.name(), job).iter().map(|it| it.event.data.kind).collect()
}

/// How many beats the leader has answered with `stop`.
async fn stops(ground: &Ground) -> anyhow::Result<f64> {
    let leader = metrics::leader(&ground.client).await?;
    let text = metrics::read(&ground.client, &leader.name_any()).await?;
    Ok(metrics::sum(&text, "jobwarden_beats_told_to_stop_total", ""))
}
