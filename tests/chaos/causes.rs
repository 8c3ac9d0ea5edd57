//! What the outcome says about why a Job or its pod ended, where Kubernetes' own reason says little.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{annotation, reason};
use jobwarden_common::notification::{Cause, CauseKind, OutcomeData, OutcomeKind};
use jobwarden_tests::environment::{ENDLESS, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::{WORKER_IMAGE, Worker};
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::scenario::Scenario;

/// How long the Jobs of these tests may be active or may take to start.
const LIMIT: Duration = Duration::from_secs(20);
/// How often the `CronJob` replaces its Job.
const MINUTE: Duration = Duration::from_mins(1);

/// The main container has ended with exit code 0, and a native sidecar that ignores SIGTERM keeps the pod from succeeding.
pub(crate) async fn a_job_that_is_deleted_after_its_work_says_that_the_work_may_be_done(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "done").await?;
    let worker = Worker::new("done", 4, Duration::from_secs(5)).on_node(HOME);
    let sidecar = json!({
        "name": "lingers", "image": WORKER_IMAGE, "imagePullPolicy": "IfNotPresent", "restartPolicy": "Always",
        "args": ["--for=1h", "--ignore-term"],
        "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
    });
    let pod = json!({ "initContainers": [sidecar], "terminationGracePeriodSeconds": 30 });
    submit(&scenario, &worker, pod).await?;
    let running =
        wait::until_running(&scenario.environment.client, scenario.namespace(), worker.name(), &[], SOON).await?;
    let has_ended = |pod: Option<&Pod>| {
        let statuses = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
        statuses.into_iter().flatten().any(|it| it.state.as_ref().is_some_and(|state| state.terminated.is_some()))
    };
    let (client, name) = (&scenario.environment.client, running.name_any());
    wait::until::<Pod>(client, scenario.namespace(), &name, SOON, "at the end of its work", has_ended).await?;
    jobs(&scenario).delete(worker.name(), &DeleteParams::background()).await?;
    let data = notified(&mut scenario, worker.name(), OutcomeKind::Lost, reason::JOB_DELETED, SOON).await?;
    ensure!(data.work_may_be_done, "{}", data.message);
    scenario.close().await
}

pub(crate) async fn a_deadline_that_passes_without_a_node_quotes_the_scheduler(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "no-node").await?;
    let worker = Worker::new("advisor", 4, ENDLESS).annotation(annotation::ACTIVE_TIMEOUT, &seconds(LIMIT));
    let mut job = worker.job();
    let containers = job.spec.as_mut().and_then(|spec| Some(&mut spec.template.spec.as_mut()?.containers));
    let container = containers.and_then(|containers| containers.first_mut()).context("the Job has a container")?;
    container.resources = serde_json::from_value(json!({ "requests": { "cpu": "500" } }))?;
    jobs(&scenario).create(&PostParams::default(), &job).await?;
    let failed = OutcomeKind::Failed;
    let data = notified(&mut scenario, worker.name(), failed, reason::DEADLINE_EXCEEDED, LIMIT + SOON).await?;
    let Cause { kind, message, .. } = &data.cause;
    let quoted = message.as_deref().is_some_and(|message| message.contains("nodes are available"));
    ensure!(*kind == Some(CauseKind::Unschedulable) && quoted, "{:?}", data.cause);
    scenario.close().await
}

pub(crate) async fn a_volume_that_cannot_be_mounted_is_the_cause_of_a_pod_that_does_not_start(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "mount").await?;
    scenario.environment.wait_for_warm_up().await?;
    let worker = Worker::new("mounts", 4, ENDLESS).on_node(HOME).annotation(annotation::START_TIMEOUT, &seconds(LIMIT));
    let mut job = serde_json::to_value(worker.job())?;
    let spec = &mut job["spec"]["template"]["spec"];
    spec["volumes"] = json!([{ "name": "inputs", "configMap": { "name": "there-is-none" } }]);
    // The kubelet mounts what a container uses.
    spec["containers"][0]["volumeMounts"] = json!([{ "name": "inputs", "mountPath": "/inputs" }]);
    jobs(&scenario).create(&PostParams::default(), &serde_json::from_value(job)?).await?;
    let data = notified(&mut scenario, worker.name(), OutcomeKind::Lost, reason::START_TIMEOUT, LIMIT + SOON).await?;
    let Cause { kind, reason, message, .. } = &data.cause;
    ensure!((*kind, reason.as_deref()) == (Some(CauseKind::CreateFailed), Some("FailedMount")), "{:?}", data.cause);
    ensure!(message.as_deref().is_some_and(|message| message.contains("there-is-none")), "{message:?}");
    scenario.close().await
}

pub(crate) async fn a_job_that_ends_with_its_namespace_says_so(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("leaving").await?;
    let worker = Worker::new("left", 4, ENDLESS).on_node(HOME);
    environment.submit(namespace.name(), &worker).await?;
    wait::until_running(&environment.client, namespace.name(), worker.name(), &[], SOON).await?;
    let namespaces = Api::<Namespace>::all(environment.client.clone());
    namespaces.delete(namespace.name(), &DeleteParams::default()).await?;
    // The namespace controller may delete the Job or the pod first.
    let is_final = |event: &jobwarden_common::notification::CloudEvent| event.data.kind.is_final();
    let received = environment.receiver.wait_for(namespace.name(), worker.name(), SOON, is_final).await?;
    let cause = &received.event.data.cause;
    let expected = (Some(CauseKind::Deleted), Some("namespace-controller"));
    ensure!((cause.kind, cause.by.as_deref()) == expected, "{:#?}", received.event.data);
    Ok(())
}

/// Slow: a schedule has no unit smaller than a minute.
pub(crate) async fn each_job_that_a_cron_job_replaces_is_reported_once_with_its_deleter(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "replace").await?;
    let template = Worker::new("unused", 4, ENDLESS).on_node(HOME).job().spec;
    let cron_job: CronJob = serde_json::from_value(json!({
        "metadata": { "name": "every-minute" },
        "spec": { "schedule": "* * * * *", "concurrencyPolicy": "Replace", "jobTemplate": { "spec": template } },
    }))?;
    let cron_jobs = Api::<CronJob>::namespaced(scenario.environment.client.clone(), scenario.namespace());
    cron_jobs.create(&PostParams::default(), &cron_job).await?;
    for _ in 0..3 {
        let name = timeout(2 * MINUTE + SOON, next_job(&scenario)).await.context("no Job was created")??;
        let data = notified(&mut scenario, &name, OutcomeKind::Deleted, reason::JOB_DELETED, MINUTE + SOON).await?;
        ensure!(data.cause.by.as_deref() == Some("cronjob-controller"), "{:?}", data.cause);
    }
    let last = timeout(MINUTE, next_job(&scenario)).await.context("no Job was created")??;
    cron_jobs.delete("every-minute", &DeleteParams::background()).await?;
    notified(&mut scenario, &last, OutcomeKind::Deleted, reason::JOB_DELETED, SOON).await?;
    scenario.close().await
}

/// The name of the Job of the `CronJob` that is not being deleted, once there is one.
async fn next_job(scenario: &Scenario<'_>) -> anyhow::Result<String> {
    loop {
        let all = jobs(scenario).list(&kube::api::ListParams::default()).await?;
        let present = all.items.iter().find(|job| {
            let owned = job.owner_references().iter().any(|owner| owner.kind == "CronJob");
            owned && job.metadata.deletion_timestamp.is_none()
        });
        if let Some(job) = present {
            return Ok(job.name_any());
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Creates the worker's Job with these fields of its pod.
async fn submit(scenario: &Scenario<'_>, worker: &Worker, pod: Value) -> anyhow::Result<()> {
    let mut job = serde_json::to_value(worker.job())?;
    let spec = job["spec"]["template"]["spec"].as_object_mut().context("the Job has a pod template")?;
    spec.extend(pod.as_object().cloned().unwrap_or_default());
    jobs(scenario).create(&PostParams::default(), &serde_json::from_value(job)?).await?;
    Ok(())
}

async fn notified(
    scenario: &mut Scenario<'_>,
    job: &str,
    kind: OutcomeKind,
    reason: &str,
    within: Duration,
) -> anyhow::Result<OutcomeData> {
    Ok(scenario.notified(job, kind, reason, within).await?.event.data)
}

fn jobs(scenario: &Scenario<'_>) -> Api<Job> {
    Api::namespaced(scenario.environment.client.clone(), scenario.namespace())
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}
