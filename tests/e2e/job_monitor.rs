//! jobwarden started with the variables of ORT Server's job monitor, as docs/orchestrators/ort-server.md says.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::notification::CloudEvent;
use jobwarden_tests::documentation::{self, ORT_SERVER};
use jobwarden_tests::environment::{ENDLESS, Environment, SOON};
use jobwarden_tests::install::{self, HOME};
use jobwarden_tests::job::{self, Worker};
use jobwarden_tests::ort_server::broker::Broker;
use jobwarden_tests::ort_server::worker::{CONTAINER, OrtWorker, RUN_ID, TRACE_ID};
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{job_outcomes, reaper_api, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::Value;

use crate::following::{is_held, verify_no_sidecar, verify_not_followed};
use crate::upgraded::upgraded;

/// The beginning of the step whose values are installed.
const STEP: &str = "1. `job-monitor.yaml`";
/// The namespace and the Secret that these values name.
const NAMESPACE: &str = "ortserver";
const SECRET: &str = "ort-secrets";
/// The sink that the variables make.
const SINK: &str = "ort-orchestrator";

pub(crate) async fn the_documented_variables_of_the_job_monitor_are_all_that_its_queue_takes(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let broker = Broker::start(&environment.cluster).await?;
    broker.create_secret(&environment.cluster, SECRET).await?;
    environment.cluster.kubectl(["create", "namespace", NAMESPACE]).await?;
    // It runs when jobwarden takes over.
    let scanner = OrtWorker::new("scanner", 21, 4, ENDLESS).with(|worker| worker.on_node(HOME).argument("--exit=1"));
    let scanner = environment.create(NAMESPACE, &scanner.job()).await?;
    let pod = wait::until_running(&environment.client, NAMESPACE, &scanner.name_any(), &[], SOON).await?;

    let values = install::values_file(&documentation::yaml(ORT_SERVER, STEP)?)?;
    let flags = [format!("--values={}", values.path().display())];
    upgraded(environment, &flags, async || take_over(environment, &broker, &scanner, &pod).await).await
}

async fn take_over(environment: &Environment, broker: &Broker, scanner: &Job, scanning: &Pod) -> anyhow::Result<()> {
    let client = &environment.client;
    let elsewhere = environment.cluster.temp_namespace("other-ort", &[]).await?;
    let fails = |kind, job_id| {
        let worker = OrtWorker::new(kind, job_id, 4, Duration::from_secs(1));
        worker.with(|worker| worker.on_node(HOME).argument("--exit=1")).job()
    };
    let no_worker = Worker::new("no-worker-of-ort", 4, Duration::from_secs(1)).on_node(HOME).argument("--exit=1");
    environment.submit(NAMESPACE, &no_worker).await?;
    let other = environment.create(elsewhere.name(), &fails("evaluator", 23)).await?.name_any();
    let advisor = environment.create(NAMESPACE, &fails("advisor", 22)).await?;

    wait::until(client, NAMESPACE, &scanner.name_any(), SOON, "held by the finalizer", is_held).await?;
    verify_no_sidecar(scanning)?;
    verify_policy(environment, &scanner.name_any()).await?;
    job::finish(environment.cluster.process_of(NAMESPACE, &scanning.name_any(), CONTAINER).await?)?;

    let mut sent = Vec::new();
    for (job, message) in [(scanner, "ScannerWorkerError(jobId=21,"), (&advisor, "AdvisorWorkerError(jobId=22,")] {
        let uid = job.uid().context("a Job has a UID")?;
        let is_delivered = |outcome: &job_outcomes::Recorded| outcome.delivery(SINK) == "acknowledged";
        let outcome = job_outcomes::until_final(client, &uid, SOON * 2, "acknowledged", is_delivered).await?;
        sent.push((outcome.id, message));
        // The sink of the configuration file stays.
        let is_final = |event: &CloudEvent| event.data.kind.is_final();
        environment.receiver.wait_for(NAMESPACE, &job.name_any(), SOON, is_final).await?;
    }
    let read = broker.read_all().await?;
    ensure!(read.len() == sent.len(), "{read:#?}");
    for (id, message) in sent {
        let found =
            read.iter().find(|it| it.id == id).with_context(|| format!("{id} is not in the queue: {read:#?}"))?;
        ensure!(found.message.starts_with(message) && found.persistent, "{found:#?}");
        ensure!(found.run_id.to_string() == RUN_ID && found.trace_id == TRACE_ID, "{found:#?}");
    }
    for (namespace, job) in [(NAMESPACE, no_worker.name()), (elsewhere.name(), &other)] {
        wait::until_job(client, namespace, job, "Failed", SOON).await?;
        verify_not_followed(environment, namespace, job).await?;
    }
    // Nothing that would stay forever is left in the namespace.
    let deleted = environment.cluster.kubectl(["delete", "namespace", NAMESPACE, "--timeout=1m"]).await;
    deleted.map(drop).context("deleting the namespace of the workers")
}

/// The variables say how long a scanner may run and how long its Job is kept.
async fn verify_policy(environment: &Environment, job: &str) -> anyhow::Result<()> {
    let known = |explanation: &Value| explanation["pods"].as_array().is_some_and(|pods| !pods.is_empty());
    let explanation = reaper_api::until(&environment.client, NAMESPACE, job, SOON, "known", known).await?;
    let policy = explanation["policy"].as_array().context("an explanation has a policy")?;
    for (name, value, origin) in [
        ("retention", "10m", "configuration file"),
        ("active-timeout", "1day", "rule MONITOR_TIMEOUT_SCANNER of the configuration file"),
    ] {
        let applies = policy.iter().any(|it| it["name"] == name && it["value"] == value && it["origin"] == origin);
        ensure!(applies, "{name} is not {value} by {origin}: {policy:#?}");
    }
    Ok(())
}
