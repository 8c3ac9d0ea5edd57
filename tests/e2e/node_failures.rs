//! Nodes that crash, are cut off, or lose their kubelet.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{FINALIZER, reason};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_testbed::TempNamespace;
use jobwarden_tests::environment::{ENDLESS, Environment, LeasedNode, RECOVERY, SOON};
use jobwarden_tests::install::Settings;
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{metrics, reaper_api, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

/// The limit from a loss to its notification, with room for a busy machine.
fn report_limit() -> Duration {
    Settings::default().lost_after + Duration::from_secs(20)
}

pub(crate) async fn a_live_worker_survives_its_stopped_kubelet(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let node = environment.lease_node().await?;
    let namespace = environment.enrolled_namespace("kubelet").await?;
    let pod = start(environment, &namespace, &Worker::new("steady", 8, ENDLESS).on_node(node.name())).await?;
    environment.cluster.stop_kubelet(node.name()).await?;
    // The test shows that nothing happens, so it has to let time pass: the Lease's last renewal may be ten seconds old.
    tokio::time::sleep(Settings::default().lost_after + Duration::from_secs(15)).await;
    // Now only the beats and the agent show that the worker is alive.
    let job = Api::<Job>::namespaced(environment.client.clone(), namespace.name()).get("steady").await?;
    ensure!(wait::reason_of(Some(&job), "FailureTarget").is_none(), "{:?}", job.status);
    environment.cluster.start_kubelet(node.name()).await?;
    environment.finish(namespace.name(), &pod).await?;
    wait::until_job(&environment.client, namespace.name(), "steady", "Complete", RECOVERY).await?;
    let succeeded = |event: &jobwarden_common::notification::CloudEvent| event.data.kind == OutcomeKind::Succeeded;
    environment.receiver.wait_for(namespace.name(), "steady", SOON, succeeded).await?;
    ensure!(
        kinds(environment, &namespace, "steady") == [OutcomeKind::Succeeded],
        "{:?}",
        kinds(environment, &namespace, "steady")
    );
    environment.cluster.wait_for_node(node.name(), true, RECOVERY).await?;
    Ok(())
}

pub(crate) async fn a_job_on_a_crashed_node_is_failed_reported_and_cleaned_up(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let node = environment.lease_node().await?;
    let namespace = environment.enrolled_namespace("crash").await?;
    let worker = Worker::new("doomed", 32, ENDLESS).on_node(node.name()).label("run-id", "3");
    let pod = start(environment, &namespace, &worker).await?;
    let touched = 32 << 20;
    let measured =
        |explanation: &Value| explanation["usage"]["peakRssBytes"].as_u64().is_some_and(|peak| peak >= touched);
    reaper_api::until(&environment.client, namespace.name(), "doomed", SOON, "measured", measured).await?;
    let crashed = Instant::now();
    environment.cluster.crash(node.name()).await?;

    let failed = wait::until_job(&environment.client, namespace.name(), "doomed", "Failed", SOON).await?;
    ensure!(failed == reason::NODE_UNREACHABLE, "the Job is Failed with {failed}");
    let notification = environment
        .receiver
        .wait_for(namespace.name(), "doomed", SOON, |event| event.data.kind == OutcomeKind::Lost)
        .await?;
    ensure!(notification.at - crashed <= report_limit(), "reported {:?} after the crash", notification.at - crashed);
    let data = &notification.event.data;
    ensure!(data.reason == reason::NODE_UNREACHABLE && data.decided_by.row == "P8", "{data:#?}");
    ensure!(data.run_id.as_ref().is_some_and(|id| id.as_str() == "3"), "{data:#?}");
    let attempt = data.attempt.as_ref().context("the notification names no pod")?;
    ensure!(attempt.pod_name == pod.name_any(), "{attempt:?}");
    ensure!(data.usage.as_ref().is_some_and(|usage| usage.peak_rss_bytes >= touched), "{:?}", data.usage);
    wait::until_gone::<Job>(&environment.client, namespace.name(), "doomed", SOON).await?;
    ensure!(kinds(environment, &namespace, "doomed").iter().filter(|kind| kind.is_final()).count() == 1);

    restart(environment, &node, &namespace, &pod).await
}

pub(crate) async fn a_job_with_retries_left_is_retried_elsewhere_and_reported_as_attempt_failed(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let node = environment.lease_node().await?;
    let namespace = environment.enrolled_namespace("retry").await?;
    // The scheduler uses a dead node until Kubernetes marks it not ready, 50 s after its last Lease renewal. The loss is reported before,
    // and the pod is removed after that.
    let worker = Worker::new("again", 8, ENDLESS).near_node(node.name()).retries(2);
    let first = start(environment, &namespace, &worker).await?;
    let placed = first.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    ensure!(placed == Some(node.name()), "the pod runs on {placed:?}, not on {}", node.name());
    environment.cluster.crash(node.name()).await?;

    let notification = environment
        .receiver
        .wait_for(namespace.name(), "again", SOON * 2, |event| event.data.kind == OutcomeKind::AttemptFailed)
        .await?;
    ensure!(notification.event.data.reason == reason::NODE_UNREACHABLE, "{:#?}", notification.event.data);
    let second =
        wait::until_running(&environment.client, namespace.name(), "again", &[&first.name_any()], SOON).await?;
    ensure!(second.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) != Some(node.name()));
    environment.finish(namespace.name(), &second).await?;
    wait::until_job(&environment.client, namespace.name(), "again", "SuccessCriteriaMet", SOON).await?;
    // Kubernetes marks the Job complete only after the first pod is gone, which requires its node.
    restart(environment, &node, &namespace, &first).await?;
    let succeeded = |event: &jobwarden_common::notification::CloudEvent| event.data.kind == OutcomeKind::Succeeded;
    environment.receiver.wait_for(namespace.name(), "again", RECOVERY, succeeded).await?;
    let kinds = kinds(environment, &namespace, "again");
    ensure!(kinds.iter().all(|kind| *kind != OutcomeKind::Lost), "{kinds:?}");
    Ok(())
}

pub(crate) async fn a_job_on_a_partitioned_node_is_failed_and_its_worker_is_stopped_later(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let node = environment.lease_node().await?;
    let namespace = environment.enrolled_namespace("partition").await?;
    // The worker ignores SIGTERM, so that its sidecar is still there after the partition.
    let worker = Worker::new("cut-off", 8, ENDLESS).on_node(node.name()).argument("--ignore-term");
    let pod = start(environment, &namespace, &worker).await?;
    let stops_before = stops(environment).await?;
    environment.cluster.partition(node.name()).await?;
    let failed = wait::until_job(&environment.client, namespace.name(), "cut-off", "Failed", SOON).await?;
    ensure!(failed == reason::NODE_UNREACHABLE, "the Job is Failed with {failed}");
    let lost = |event: &jobwarden_common::notification::CloudEvent| event.data.kind == OutcomeKind::Lost;
    environment.receiver.wait_for(namespace.name(), "cut-off", SOON, lost).await?;

    environment.cluster.heal(node.name()).await?;
    let give_up = Instant::now() + SOON;
    while stops(environment).await? <= stops_before {
        ensure!(Instant::now() < give_up, "no beat was answered with stop");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    wait::until_gone::<Pod>(&environment.client, namespace.name(), &pod.name_any(), RECOVERY).await?;
    let finals: Vec<_> = environment
        .receiver
        .about(namespace.name(), "cut-off")
        .into_iter()
        .filter(|it| it.event.data.kind.is_final())
        .collect();
    ensure!(finals.len() == 1 && finals[0].deliveries == 1, "{finals:#?}");
    environment.cluster.wait_for_node(node.name(), true, RECOVERY).await?;
    Ok(())
}

/// Creates the Job and waits until its worker runs and is reported alive.
async fn start(environment: &Environment, namespace: &TempNamespace, worker: &Worker) -> anyhow::Result<Pod> {
    let job = environment.submit(namespace.name(), worker).await?;
    ensure!(job.finalizers().iter().any(|it| it == FINALIZER), "the Job was not enrolled");
    let pod = wait::until_running(&environment.client, namespace.name(), worker.name(), &[], SOON).await?;
    reaper_api::until_reported_alive(&environment.client, namespace.name(), worker.name(), SOON).await?;
    Ok(pod)
}

/// Boots a crashed node and waits until it has removed the pod.
async fn restart(
    environment: &Environment,
    node: &LeasedNode,
    namespace: &TempNamespace,
    pod: &Pod,
) -> anyhow::Result<()> {
    environment.cluster.start_node(node.name()).await?;
    wait::until_gone::<Pod>(&environment.client, namespace.name(), &pod.name_any(), RECOVERY).await?;
    environment.cluster.wait_for_node(node.name(), true, RECOVERY).await?;
    Ok(())
}

fn kinds(environment: &Environment, namespace: &TempNamespace, job: &str) -> Vec<OutcomeKind> {
    environment.receiver.about(namespace.name(), job).iter().map(|it| it.event.data.kind).collect()
}

/// The number of beats that the leader has answered with `stop`.
async fn stops(environment: &Environment) -> anyhow::Result<f64> {
    let leader = metrics::leader(&environment.client).await?;
    let text = metrics::read(&environment.client, &leader.name_any()).await?;
    Ok(metrics::sum(&text, "jobwarden_beats_told_to_stop_total", ""))
}
