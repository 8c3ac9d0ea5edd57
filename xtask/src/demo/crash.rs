//! The demo on a cluster of its own: the worker's node dies.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jobwarden_common::notification::{CloudEvent, OutcomeData, OutcomeKind};
use jobwarden_tests::{
    cluster::{self, Cluster, ClusterConfig},
    install::{self, Settings},
    progress,
    receiver::{Received, Receiver},
    wait,
};
use k8s_openapi::api::batch::v1::Job;
use kube::Client;

use super::{
    Summary, kubernetes_alone,
    story::{after_crash, chapter, claim, quote, say},
    worker::{self, JOB, JOB_ID, RUN_ID, TOUCHED_MEBIBYTES, TRACE_ID},
};
use crate::image;

const CLUSTER: &str = "demo";
const NAMESPACE: &str = "demo";
/// The worker's node; jobwarden itself runs on the other.
const NODE: &str = "node-2";

/// A demo is watched: lost-after is far shorter than the default of two minutes.
const LOST_AFTER: Duration = Duration::from_secs(20);
/// What detection may take beyond lost-after: judging, writing the verdict, delivering.
const DETECTION_SLACK: Duration = Duration::from_secs(5);
/// How far the reported peak may be from what was touched: the program's own pages are in it as well.
const PEAK_TOLERANCE: f64 = 0.05;
const PATIENCE: Duration = Duration::from_mins(2);

pub(super) async fn run(keep: bool, compare: bool) -> anyhow::Result<Summary> {
    cluster::tear_down_on_signals();
    say("jobwarden demo: the node of a batch job dies, and the orchestrator hears of it within seconds.");
    let cluster = boot().await?;
    let summary = tell(&cluster, compare).await;
    if keep {
        chapter("The cluster stays up");
        say(format!("  cargo xtask cluster --name {CLUSTER} kubectl get joboutcomes -n jobwarden"));
        say(format!("  cargo xtask cluster --name {CLUSTER} kubectl get pods -A -o wide"));
        say(format!("  cargo xtask cluster --name {CLUSTER} kubectl logs -n jobwarden -l jobwarden.io/role=leader"));
        say(format!("  cargo xtask cluster --name {CLUSTER} down        ends it"));
        drop(cluster.keep());
    } else {
        cluster.down().await.context("ending the demo's cluster")?;
    }
    summary
}

async fn boot() -> anyhow::Result<Cluster> {
    cluster::build().await?;
    let images = tokio::task::spawn_blocking(image::build).await.context("building the images")??;
    let cluster = Cluster::up(&ClusterConfig::new(CLUSTER).nodes(2)).await?;
    for image in images {
        cluster.import_image(&image.archive).await?;
    }
    Ok(cluster)
}

async fn tell(cluster: &Cluster, compare: bool) -> anyhow::Result<Summary> {
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
    warm_up(&client).await?;
    let seen = crash(cluster, &client, &receiver).await?;
    let mut summary = Summary {
        injected: submitted.injected,
        beats: submitted.beats,
        lost_after_s: Some(LOST_AFTER.as_secs_f64()),
        ..Summary::default()
    };
    report(&mut summary, &seen);
    if compare {
        kubernetes_alone::measure(cluster, seen.crashed).await?;
    } else {
        kubernetes_alone::recorded();
    }
    show(&seen.notification.event)?;
    check(&mut summary, &seen, &receiver);
    Ok(summary)
}

/// A leader fails nothing before it has listened for lost-after, and the agent reports every ten seconds: a crash in the
/// first seconds of an installation would show the guard, not the usual case.
async fn warm_up(client: &Client) -> anyhow::Result<()> {
    let step = progress::step("letting the leader listen for lost-after, before which it fails nothing");
    let leader = jobwarden_tests::metrics::leader(client).await?;
    let started = leader.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|at| at.0);
    let age =
        started.map_or(Duration::ZERO, |at| k8s_openapi::jiff::Timestamp::now().duration_since(at).unsigned_abs());
    tokio::time::sleep((LOST_AFTER + Duration::from_secs(10)).saturating_sub(age)).await;
    drop(step);
    Ok(())
}

/// What was seen after the crash.
struct Seen {
    crashed: Instant,
    notification: Received,
    failed_after: Duration,
    failed_because: String,
    cleaned_after: Option<Duration>,
}

async fn crash(cluster: &Cluster, client: &Client, receiver: &Receiver) -> anyhow::Result<Seen> {
    chapter(&format!("{NODE} dies (lost-after is {} s here; the default is 120 s)", LOST_AFTER.as_secs()));
    let crashed = Instant::now();
    cluster.crash(NODE).await?;
    after_crash(crashed.elapsed(), format!("{NODE} is off: kubelet, runtime and worker ended at once"));
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
        after_crash(received.at - crashed, format!("the orchestrator is told: {} ({})", what.kind, what.reason));
        anyhow::Ok(received)
    };
    let ((failed_after, failed_because), notification) = tokio::try_join!(failed, notified)?;
    let gone = wait::until_gone::<Job>(client, NAMESPACE, JOB, PATIENCE).await;
    let cleaned_after = gone.is_ok().then(|| crashed.elapsed());
    if let Some(after) = cleaned_after {
        after_crash(after, "the Job is deleted, its retention being over");
    }
    drop(step);
    Ok(Seen { crashed, notification, failed_after, failed_because, cleaned_after })
}

fn report(summary: &mut Summary, seen: &Seen) {
    let data = &seen.notification.event.data;
    summary.run_id = data.run_id.as_ref().map(ToString::to_string);
    summary.job_id = data.job_id.as_ref().map(ToString::to_string);
    summary.detected_after_s = Some((seen.notification.at - seen.crashed).as_secs_f64());
    summary.failed_after_s = Some(seen.failed_after.as_secs_f64());
    summary.reason = Some(data.reason.clone());
    summary.peak_rss_bytes = data.usage.as_ref().map(|usage| usage.peak_rss_bytes);
    summary.cleaned = Some(seen.cleaned_after.is_some());
}

fn show(event: &CloudEvent) -> anyhow::Result<()> {
    chapter("What jobwarden saw and did");
    for entry in &event.data.timeline {
        say(format!("  {}  {}", entry.at, entry.event));
    }
    chapter("The notification");
    quote(&serde_json::to_string_pretty(event)?);
    Ok(())
}

fn check(summary: &mut Summary, seen: &Seen, receiver: &Receiver) {
    chapter("Did it do what it promises?");
    let data = &seen.notification.event.data;
    let about = receiver.about(NAMESPACE, JOB);
    let deliveries = about.iter().filter(|it| it.event.data.kind.is_final()).map(|it| it.deliveries).sum();
    summary.notified = Some(deliveries);
    let detected = seen.notification.at - seen.crashed;
    let within = LOST_AFTER + DETECTION_SLACK;
    let claims = [
        claim(summary.injected, "the Job was labelled, held and given its sidecar"),
        claim(summary.beats > 0, "beats arrived"),
        claim(
            detected <= within,
            format!("told {:.1} s after the crash, of {} s", detected.as_secs_f64(), within.as_secs()),
        ),
        claim(
            seen.failed_because == data.reason,
            format!("the Job is Failed with our reason: {}", seen.failed_because),
        ),
        claim(data.kind == OutcomeKind::Lost && data.reason == "NodeUnreachable", "lost, because of NodeUnreachable"),
        claim(identified(data), format!("it carries run ID {RUN_ID}, job ID {JOB_ID}, trace ID {TRACE_ID}")),
        claim(
            data.decided_by.row == "P8" && !data.timeline.is_empty(),
            "it carries the row that decided, and a timeline",
        ),
        claim(peak_is_right(data), format!("its peak memory is within 5 % of {TOUCHED_MEBIBYTES} MiB: {}", peak(data))),
        claim(deliveries == 1, format!("it arrived exactly once (deliveries: {deliveries})")),
        claim(receiver.refused().is_empty(), "every delivery was well signed"),
        claim(seen.cleaned_after.is_some(), "the Job was cleaned up"),
    ];
    summary.passed = claims.into_iter().all(|holds| holds);
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
        || "none was reported".to_owned(),
        |usage| format!("{:.1} MiB", usage.peak_rss_bytes as f64 / 1024.0 / 1024.0),
    )
}
