//! The demo on its own cluster: the worker's node crashes.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jobwarden_common::notification::{CloudEvent, OutcomeData, OutcomeKind};
use jobwarden_testbed::{Cluster, ClusterConfig, prepare, progress, tear_down_on_signals};
use jobwarden_tests::{
    install::{self, Settings},
    metrics,
    receiver::{Received, Receiver},
    wait,
};
use k8s_openapi::api::batch::v1::Job;
use kube::Client;

use super::{
    kubernetes_alone,
    output::{after_crash, check, heading, indented, line},
    summary::Summary,
    worker::{self, JOB, JOB_ID, RUN_ID, TOUCHED_MEBIBYTES, TRACE_ID},
};
use crate::image;

const CLUSTER: &str = "demo";
const NAMESPACE: &str = "demo";
/// The worker's node. jobwarden itself runs on the other node.
pub(super) const NODE: &str = "node-2";

/// Far shorter than the default of two minutes, because people watch a demo.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(20);
/// How long detection may take beyond lost-after: evaluating, writing the verdict, delivering the notification.
pub(super) const DETECTION_SLACK: Duration = Duration::from_secs(5);
/// How far the reported peak may be from the touched memory, because it also contains the program's own pages.
const PEAK_TOLERANCE: f64 = 0.05;
const PATIENCE: Duration = Duration::from_mins(2);

pub(super) async fn run(keep: bool, compare: bool) -> anyhow::Result<Summary> {
    tear_down_on_signals();
    line("jobwarden demo: the node of a batch job crashes, and the orchestrator is notified within seconds.");
    let cluster = boot().await?;
    let summary = show(&cluster, compare).await;
    end(cluster, keep).await?;
    summary
}

/// Tears the cluster down, or prints how to inspect it.
pub(super) async fn end(cluster: Cluster, keep: bool) -> anyhow::Result<()> {
    if keep {
        heading("The cluster keeps running");
        line(format!("  cargo xtask cluster --name {CLUSTER} kubectl get joboutcomes -n jobwarden"));
        line(format!("  cargo xtask cluster --name {CLUSTER} kubectl get pods -A -o wide"));
        line(format!("  cargo xtask cluster --name {CLUSTER} kubectl logs -n jobwarden -l jobwarden.io/role=leader"));
        line(format!("  cargo xtask cluster --name {CLUSTER} down        # stop it"));
        drop(cluster.keep());
        return Ok(());
    }
    cluster.down().await.context("tearing down the demo's cluster")
}

/// A cluster of two nodes with the images.
pub(super) async fn boot() -> anyhow::Result<Cluster> {
    prepare().await?;
    let images = tokio::task::spawn_blocking(image::build).await.context("building the images")??;
    let cluster = Cluster::up(&ClusterConfig::new(CLUSTER).nodes(2)).await?;
    for image in images {
        cluster.import_image(&image.archive).await?;
    }
    Ok(cluster)
}

async fn show(cluster: &Cluster, compare: bool) -> anyhow::Result<Summary> {
    let client = cluster.client()?;
    let receiver = Receiver::start(cluster.listen(0).await?)?;
    install::install(cluster, &Settings { lost_after: LOST_AFTER, ..Settings::default() }, &receiver).await?;
    cluster.kubectl(["create", "namespace", NAMESPACE]).await?;
    cluster.kubectl(["label", "namespace", NAMESPACE, "jobwarden.io/inject=enabled"]).await?;
    if compare {
        kubernetes_alone::submit(cluster, NODE).await?;
    }
    let job = worker::ort_worker(Duration::from_hours(1)).on_node(NODE).job();
    let submitted = worker::submit(&client, NAMESPACE, job).await?;
    wait_for_warm_up(&client).await?;
    let observed = crash(cluster, &client, &receiver).await?;
    let mut summary = Summary {
        injected: submitted.injected,
        beats: submitted.beats,
        lost_after_s: Some(LOST_AFTER.as_secs_f64()),
        ..Summary::default()
    };
    report(&mut summary, &observed);
    if compare {
        kubernetes_alone::measure(cluster, observed.crashed).await?;
    } else {
        kubernetes_alone::recorded();
    }
    show_notification(&observed.notification.event)?;
    verify(&mut summary, &observed, &receiver);
    Ok(summary)
}

/// A leader fails no Job before it has received signals for lost-after, and agents report every ten seconds. A crash in the
/// first seconds of an installation would show the guard and not the usual case.
pub(super) async fn wait_for_warm_up(client: &Client) -> anyhow::Result<()> {
    let step = progress::step("waiting until the leader has received signals for lost-after; it fails no Job before");
    let leader = metrics::leader(client).await?;
    let started = leader.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|at| at.0);
    let age =
        started.map_or(Duration::ZERO, |at| k8s_openapi::jiff::Timestamp::now().duration_since(at).unsigned_abs());
    tokio::time::sleep((LOST_AFTER + Duration::from_secs(10)).saturating_sub(age)).await;
    drop(step);
    Ok(())
}

/// What was observed after the crash.
struct Observed {
    crashed: Instant,
    notification: Received,
    failed_after: Duration,
    failed_because: String,
    cleaned_after: Option<Duration>,
}

async fn crash(cluster: &Cluster, client: &Client, receiver: &Receiver) -> anyhow::Result<Observed> {
    heading(&format!("{NODE} crashes (lost-after is {} s here; the default is 120 s)", LOST_AFTER.as_secs()));
    let crashed = Instant::now();
    cluster.crash(NODE).await?;
    after_crash(crashed.elapsed(), format!("{NODE} is down: kubelet, container runtime and worker ended at once"));
    let step = progress::step("waiting for jobwarden");
    let failed = async {
        let reason = wait::until_job(client, NAMESPACE, JOB, "Failed", PATIENCE).await?;
        let after = crashed.elapsed();
        after_crash(after, format!("the Job is Failed: {reason}"));
        anyhow::Ok((after, reason))
    };
    let notified = async {
        let wanted = |event: &CloudEvent| event.data.kind.is_final();
        let received = receiver.wait_for(NAMESPACE, JOB, PATIENCE, wanted).await?;
        let what = &received.event.data;
        after_crash(received.at - crashed, format!("the orchestrator is notified: {} ({})", what.kind, what.reason));
        anyhow::Ok(received)
    };
    let ((failed_after, failed_because), notification) = tokio::try_join!(failed, notified)?;
    let gone = wait::until_gone::<Job>(client, NAMESPACE, JOB, PATIENCE).await;
    let cleaned_after = gone.is_ok().then(|| crashed.elapsed());
    if let Some(after) = cleaned_after {
        after_crash(after, "the Job is deleted after its retention");
    }
    drop(step);
    Ok(Observed { crashed, notification, failed_after, failed_because, cleaned_after })
}

fn report(summary: &mut Summary, observed: &Observed) {
    let data = &observed.notification.event.data;
    summary.run_id = data.run_id.as_ref().map(ToString::to_string);
    summary.job_id = data.job_id.as_ref().map(ToString::to_string);
    summary.detected_after_s = Some((observed.notification.at - observed.crashed).as_secs_f64());
    summary.failed_after_s = Some(observed.failed_after.as_secs_f64());
    summary.reason = Some(data.reason.clone());
    summary.peak_rss_bytes = data.usage.as_ref().map(|usage| usage.peak_rss_bytes);
    summary.cleaned = Some(observed.cleaned_after.is_some());
}

fn show_notification(event: &CloudEvent) -> anyhow::Result<()> {
    heading("What jobwarden observed and did");
    for entry in &event.data.timeline {
        line(format!("  {}  {}", entry.at, entry.event));
    }
    heading("The notification");
    indented(&serde_json::to_string_pretty(event)?);
    Ok(())
}

fn verify(summary: &mut Summary, observed: &Observed, receiver: &Receiver) {
    heading("Checks");
    let data = &observed.notification.event.data;
    let about = receiver.about(NAMESPACE, JOB);
    let deliveries = about.iter().filter(|it| it.event.data.kind.is_final()).map(|it| it.deliveries).sum();
    summary.notified = Some(deliveries);
    let detected = observed.notification.at - observed.crashed;
    let within = LOST_AFTER + DETECTION_SLACK;
    let checks = [
        check(summary.injected, "the Job got its labels, its finalizer and its sidecar"),
        check(summary.beats > 0, "the reaper received heartbeats"),
        check(
            detected <= within,
            format!("notified {:.1} s after the crash (limit {} s)", detected.as_secs_f64(), within.as_secs()),
        ),
        check(
            observed.failed_because == data.reason,
            format!("the Job is Failed with jobwarden's reason: {}", observed.failed_because),
        ),
        check(
            data.kind == OutcomeKind::Lost && data.reason == "NodeUnreachable",
            "the outcome is lost, with reason NodeUnreachable",
        ),
        check(identified(data), format!("the notification has run ID {RUN_ID}, job ID {JOB_ID}, trace ID {TRACE_ID}")),
        check(
            data.decided_by.row == "P8" && !data.timeline.is_empty(),
            "the notification has the deciding row and a timeline",
        ),
        check(
            peak_is_right(data),
            format!("the reported peak memory is within 5 % of {TOUCHED_MEBIBYTES} MiB: {}", peak(data)),
        ),
        check(deliveries == 1, format!("the notification arrived exactly once (deliveries: {deliveries})")),
        check(receiver.rejected().is_empty(), "every delivery had a valid signature"),
        check(observed.cleaned_after.is_some(), "the Job was deleted after its retention"),
    ];
    summary.passed = checks.into_iter().all(|passed| passed);
}

fn identified(data: &OutcomeData) -> bool {
    data.run_id.as_ref().is_some_and(|id| id.as_str() == RUN_ID)
        && data.job_id.as_ref().is_some_and(|id| id.as_str() == JOB_ID)
        && data.trace_id.as_deref() == Some(TRACE_ID)
}

fn peak_is_right(data: &OutcomeData) -> bool {
    let touched = f64::from(TOUCHED_MEBIBYTES) * 1024.0 * 1024.0;
    data.usage.as_ref().is_some_and(|usage| (usage.peak_rss_bytes as f64 - touched).abs() <= touched * PEAK_TOLERANCE)
}

fn peak(data: &OutcomeData) -> String {
    data.usage.as_ref().map_or_else(
        || "none reported".to_owned(),
        |usage| format!("{:.1} MiB", usage.peak_rss_bytes as f64 / 1024.0 / 1024.0),
    )
}
