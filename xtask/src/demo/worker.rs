//! The parts that every demo has: a worker Job like ORT Server's is submitted, gets its sidecar and sends heartbeats.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use jobwarden_common::names::{FINALIZER, SIDECAR_CONTAINER, label};
use jobwarden_testbed::progress;
use jobwarden_tests::{job::Worker, metrics, wait};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Container, Pod},
};
use kube::{Api, Client, ResourceExt as _, api::PostParams};

use super::output::{check, heading, line};

pub(super) const RUN_ID: &str = "42";
pub(super) const JOB_ID: &str = "7";
pub(super) const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
pub(super) const JOB: &str = "ort-analyzer";

/// The memory that the worker touches, in MiB.
pub(super) const TOUCHED_MEBIBYTES: u32 = 96;

/// How many heartbeats to wait for: enough to see that they continue.
const BEATS: u64 = 3;
const PATIENCE: Duration = Duration::from_mins(2);

/// A Job as ORT Server submits its analyzer, with IDs in labels and in JSON in the environment.
pub(super) fn ort_worker(duration: Duration) -> Worker {
    Worker::new(JOB, TOUCHED_MEBIBYTES, duration)
        .label("run-id", RUN_ID)
        .label("trace-id-0", TRACE_ID)
        .label("ort-worker", "analyzer")
        .env("payload", &format!(r#"{{"analyzerJobId":{JOB_ID}}}"#))
}

/// What was observed of the submitted worker.
pub(super) struct Submitted {
    pub(super) pod: Pod,
    pub(super) injected: bool,
    pub(super) beats: u64,
}

/// Submits the Job, shows what admission added to it, and waits for heartbeats.
pub(super) async fn submit(client: &Client, namespace: &str, job: Job) -> anyhow::Result<Submitted> {
    let beats_before = beats(client).await?;
    heading("A worker Job is submitted, as ORT Server does");
    line(format!("  Job {namespace}/{JOB}: labels run-id={RUN_ID}, trace-id-0={TRACE_ID}, ort-worker=analyzer;"));
    line(format!("  env payload={{\"analyzerJobId\":{JOB_ID}}}; backoffLimit 0; touches {TOUCHED_MEBIBYTES} MiB"));
    let jobs = Api::<Job>::namespaced(client.clone(), namespace);
    let job = jobs.create(&PostParams::default(), &job).await.context("submitting the Job")?;
    let pod = wait::until_running(client, namespace, JOB, &[], PATIENCE).await?;
    let injected = show_injected(&job, &pod);
    let beats = show_beats(client, beats_before).await?;
    Ok(Submitted { pod, injected, beats })
}

fn show_injected(job: &Job, pod: &Pod) -> bool {
    heading("What the webhook added");
    let labelled = [job.labels(), pod.labels()].into_iter().all(|labels| {
        labels.get(label::RUN_ID).is_some_and(|id| id == RUN_ID)
            && labels.get(label::JOB_ID).is_some_and(|id| id == JOB_ID)
    });
    let held = job.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    let first = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref()?.first());
    let sidecar = first.filter(|container| container.name == SIDECAR_CONTAINER);
    let image = sidecar.and_then(|container| container.image.as_deref()).unwrap_or("none");
    let size = sidecar.map(size).unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("no node");
    let checks = [
        check(labelled, format!("labels {}={RUN_ID} and {}={JOB_ID} on Job and pod", label::RUN_ID, label::JOB_ID)),
        check(held, format!("finalizer {FINALIZER}: the Job cannot be removed before its outcome is recorded")),
        check(sidecar.is_some(), format!("native sidecar {SIDECAR_CONTAINER} ({image}; {size})")),
        check(true, format!("the pod {} runs on {node}", pod.name_any())),
    ];
    checks.into_iter().all(|passed| passed)
}

fn size(sidecar: &Container) -> String {
    let requests = sidecar.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let of = |what: &str| requests.and_then(|requests| requests.get(what)).map_or("?", |quantity| quantity.0.as_str());
    format!("{} CPU, {} memory", of("cpu"), of("memory"))
}

async fn show_beats(client: &Client, before: u64) -> anyhow::Result<u64> {
    heading("The sidecar sends heartbeats");
    let step = progress::step("waiting for heartbeats");
    let give_up = Instant::now() + PATIENCE;
    loop {
        let received = beats(client).await?.saturating_sub(before);
        step.detail(format!("{received} so far"));
        if received >= BEATS {
            drop(step);
            check(true, format!("the leading reaper received {received} heartbeats"));
            return Ok(received);
        }
        if Instant::now() > give_up {
            bail!(
                "the reaper received only {received} heartbeats; see the sidecar's log: \
                   kubectl logs job/{JOB} -c {SIDECAR_CONTAINER}"
            );
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The number of heartbeats that the leading reaper has accepted.
async fn beats(client: &Client) -> anyhow::Result<u64> {
    let leader = metrics::leader(client).await?;
    let text = metrics::read(client, &leader.name_any()).await?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A counter is a whole number.
    Ok(metrics::sum(&text, "jobwarden_beats_total", "") as u64)
}
