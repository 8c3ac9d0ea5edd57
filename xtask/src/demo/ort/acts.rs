//! The acts of the demo. Each shows what Kubernetes says, what jobwarden records and what the orchestrator receives, with the time since
//! the worker was started or its node crashed.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jobwarden_common::names::label;
use jobwarden_common::notification::OutcomeKind;
use jobwarden_testbed::progress;
use jobwarden_tests::job_outcomes::{self, Recorded};
use jobwarden_tests::ort_server::worker::OrtWorker;
use jobwarden_tests::{reaper_api, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};

use super::setting::{NAMESPACE, PATIENCE, SINK, SUCCEEDS};
use super::stage::Stage;
use crate::demo::crash::{self, DETECTION_SLACK, LOST_AFTER, NODE};
use crate::demo::output::{after_crash, check, heading};

/// The memory of the worker that runs out of it, in MiB: what it has for a while, what it then wants besides, and its limit.
const TOUCHED: u32 = 48;
const WANTED: u32 = 256;
const LIMIT: u32 = 96;
/// For how long: the node agent reports every ten seconds.
const STEADY: Duration = Duration::from_secs(15);

pub(super) async fn a_worker_succeeds(stage: &Stage<'_>) -> anyhow::Result<bool> {
    let worker = OrtWorker::new(SUCCEEDS, 11, 8, Duration::from_secs(3));
    heading("The reporter succeeds, and has sent its result itself");
    let (since, uid) = submit(stage, &worker).await?;
    wait::until_job(&stage.client, NAMESPACE, worker.name(), "Complete", PATIENCE).await?;
    says(since, "Kubernetes", "the Job is Complete");
    let outcome = outcome(stage, &uid, "settled", Recorded::is_settled).await?;
    says(since, "jobwarden", format!("records {}, which is no message to ORT Server", outcome.data.kind));
    Ok(check(outcome.data.kind == OutcomeKind::Succeeded, "the outcome is recorded, and nothing is left to deliver"))
}

pub(super) async fn a_worker_fails(stage: &Stage<'_>) -> anyhow::Result<bool> {
    let worker = OrtWorker::new("scanner", 12, 8, Duration::from_secs(3)).with(|worker| worker.argument("--exit=1"));
    heading("The scanner exits with 1");
    let (since, uid) = submit(stage, &worker).await?;
    let (ends, _, message) = tokio::try_join!(
        kubernetes(stage, &worker, since),
        jobwarden(stage, &uid, since),
        orchestrator(stage, "ScannerWorkerError(jobId=12,", &worker, since),
    )?;
    let checks = [
        check(ends.contains("exit code 1"), "the container ended with exit code 1"),
        check(message.contains("container main ended with exit code 1"), "the user of ORT Server reads why"),
    ];
    Ok(checks.into_iter().all(|passed| passed))
}

pub(super) async fn a_worker_runs_out_of_memory_while_the_broker_is_down(
    stage: &mut Stage<'_>,
) -> anyhow::Result<bool> {
    let worker = OrtWorker::new("analyzer", 13, TOUCHED, STEADY);
    let worker = worker.with(|worker| worker.memory_limit(LIMIT).argument(format!("--grow={WANTED}Mi")));
    heading(&format!("The analyzer runs out of its {LIMIT} MiB of memory while the broker is down"));
    let (since, uid) = submit(stage, &worker).await?;
    stage.broker.kill().await?;
    says(since, "RabbitMQ", "is killed");
    let (ends, recorded) = tokio::try_join!(kubernetes(stage, &worker, since), jobwarden(stage, &uid, since))?;
    let error = undelivered(stage, &uid).await?;
    says(since, "jobwarden", format!("cannot deliver yet: {error}"));
    stage.broker.start_again().await?;
    says(since, "RabbitMQ", "is started again with its data");
    let message = orchestrator(stage, "AnalyzerWorkerError(jobId=13,", &worker, since).await?;
    let checks = [
        check(ends.contains("OOMKilled"), "the container was killed for its memory"),
        check(recorded.data.usage.is_some(), "jobwarden knows how much it used"),
        check(
            message.contains("reached its memory limit") && message.contains("its peak memory was at least"),
            "the user reads that memory was the reason, and the peak",
        ),
    ];
    Ok(checks.into_iter().all(|passed| passed))
}

/// Returns also how long after the crash the orchestrator received the message.
pub(super) async fn the_node_of_a_worker_crashes(stage: &Stage<'_>) -> anyhow::Result<(bool, Duration)> {
    let worker = OrtWorker::new("advisor", 14, 8, Duration::from_hours(1)).with(|worker| worker.on_node(NODE));
    heading(&format!("The advisor's node crashes (lost-after is {} s here, not 120 s)", LOST_AFTER.as_secs()));
    let (_, uid) = submit(stage, &worker).await?;
    reaper_api::until_reported_alive(&stage.client, NAMESPACE, worker.name(), PATIENCE).await?;
    crash::wait_for_warm_up(&stage.client).await?;
    let crashed = Instant::now();
    stage.cluster.crash(NODE).await?;
    says(crashed, "the machine", format!("{NODE} is down: kubelet, container runtime and worker ended at once"));
    let step = progress::step("waiting for jobwarden");
    let failed = async {
        let reason = wait::until_job(&stage.client, NAMESPACE, worker.name(), "Failed", PATIENCE).await?;
        says(crashed, "Kubernetes", format!("the Job is Failed: {reason}"));
        anyhow::Ok(reason)
    };
    let received = async {
        let received = stage.orchestrator.wait_for("WorkerError(", "endpointName=advisor").await?;
        says_at(received.1 - crashed, "orchestrator", format!("accepts {}", received.0.message));
        anyhow::Ok(received.1 - crashed)
    };
    let (reason, recorded, detected) = tokio::try_join!(failed, jobwarden(stage, &uid, crashed), received)?;
    drop(step);
    let within = LOST_AFTER + DETECTION_SLACK;
    let checks = [
        check(
            detected <= within,
            format!("received {:.1} s after the crash (limit {} s)", detected.as_secs_f64(), within.as_secs()),
        ),
        check(
            recorded.data.kind == OutcomeKind::Lost && recorded.data.reason == reason,
            "the outcome is lost; WorkerError leaves alone what the worker may have finished unseen",
        ),
    ];
    Ok((checks.into_iter().all(|passed| passed), detected))
}

/// Creates the worker's Job, and returns its UID.
async fn submit(stage: &Stage<'_>, worker: &OrtWorker) -> anyhow::Result<(Instant, String)> {
    let jobs = Api::<Job>::namespaced(stage.client.clone(), NAMESPACE);
    let job = jobs.create(&PostParams::default(), &worker.job()).await;
    let job = job.with_context(|| format!("creating Job {}", worker.name()))?;
    let since = Instant::now();
    says(since, "ORT Server", format!("starts Job {}", worker.name()));
    Ok((since, job.uid().context("the Job has no UID")?))
}

/// Waits until the Job is Failed, and returns how its container ended.
async fn kubernetes(stage: &Stage<'_>, worker: &OrtWorker, since: Instant) -> anyhow::Result<String> {
    let reason = wait::until_job(&stage.client, NAMESPACE, worker.name(), "Failed", PATIENCE).await?;
    let pods = Api::<Pod>::namespaced(stage.client.clone(), NAMESPACE);
    let of_job = ListParams::default().labels(&format!("{}={}", label::JOB_NAME, worker.name()));
    let pods = pods.list(&of_job).await.context("listing the pods of the worker")?;
    let ends = pods.iter().find_map(end_of_main).unwrap_or_else(|| "its pod is gone".to_owned());
    says(since, "Kubernetes", format!("the Job is Failed: {reason}; {ends}"));
    Ok(ends)
}

/// How the main container ended.
fn end_of_main(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let main = statuses.iter().find(|status| status.name == "main")?;
    let ended = main.state.as_ref()?.terminated.as_ref()?;
    let reason = ended.reason.as_deref().unwrap_or("no reason");
    Some(format!("container main: exit code {}, {reason}", ended.exit_code))
}

/// Waits for the final outcome of the Job.
async fn jobwarden(stage: &Stage<'_>, uid: &str, since: Instant) -> anyhow::Result<Recorded> {
    let recorded = outcome(stage, uid, "recorded", |_| true).await?;
    let data = &recorded.data;
    says(since, "jobwarden", format!("records {} ({}), by row {}", data.kind, data.reason, data.decided_by.row));
    Ok(recorded)
}

/// Waits for the message about the worker, and returns it.
async fn orchestrator(stage: &Stage<'_>, class: &str, worker: &OrtWorker, since: Instant) -> anyhow::Result<String> {
    let (accepted, at) = stage.orchestrator.wait_for(class, worker.kind()).await?;
    says_at(at - since, "orchestrator", format!("accepts {}", accepted.message));
    Ok(accepted.message)
}

/// Waits until the final outcome of a Job satisfies `wanted`.
async fn outcome(
    stage: &Stage<'_>,
    uid: &str,
    state: &str,
    wanted: impl Fn(&Recorded) -> bool,
) -> anyhow::Result<Recorded> {
    job_outcomes::until_final(&stage.client, uid, PATIENCE, state, wanted).await
}

/// Waits until a delivery of the outcome has failed, and returns the error.
async fn undelivered(stage: &Stage<'_>, uid: &str) -> anyhow::Result<String> {
    Ok(outcome(stage, uid, "attempted", |outcome| !outcome.error(SINK).is_empty()).await?.error(SINK).to_owned())
}

/// Prints what was seen now.
fn says(since: Instant, who: &str, what: impl AsRef<str>) {
    says_at(since.elapsed(), who, what);
}

fn says_at(elapsed: Duration, who: &str, what: impl AsRef<str>) {
    after_crash(elapsed, format!("{who:<12}  {}", what.as_ref()));
}
