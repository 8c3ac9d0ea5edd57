//! Pods that outlive their Job, because it was deleted with `--cascade=orphan`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{annotation, label, label_value, reason};
use jobwarden_common::notification::{CloudEvent, OutcomeKind};
use jobwarden_tests::environment::{ENDLESS, Environment, RECOVERY, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use tokio::time::sleep;

/// How long one sweep of the reaper may take after it has deleted its first pod, on a busy machine.
const ONE_SWEEP: Duration = Duration::from_secs(3);

pub(crate) async fn an_ended_pod_of_a_job_that_was_deleted_without_it_is_deleted_and_no_other_pod(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let (inside, outside) = (
        environment.enrolled_namespace("orphans").await?,
        environment.cluster.temp_namespace("orphans-elsewhere", &[]).await?,
    );
    // jobwarden deletes none of the Jobs before the test does.
    let worker = |name: &str, duration: Duration, kept: &str| {
        let worker = Worker::new(name, 4, duration).on_node(HOME);
        worker.annotation(annotation::RETENTION, "1h").annotation(annotation::RETENTION_ORPHANED, kept)
    };
    let short = |name: &str, kept: &str| worker(name, Duration::from_secs(1), kept);
    for worker in [
        short("first", "1s"),
        short("second", "1s"),
        short("kept-longer", "1h"),
        short("job-exists", "1s"),
        short("opted-out", "1s").label(label::INJECT, label_value::FALSE),
        worker("runs", ENDLESS, "1s"),
    ] {
        environment.submit(inside.name(), &worker).await?;
    }
    environment.submit(outside.name(), &short("not-enrolled", "1s")).await?;

    let client = &environment.client;
    for name in ["first", "second", "kept-longer", "job-exists", "opted-out"] {
        wait::until_job(client, inside.name(), name, "Complete", SOON * 2).await?;
    }
    wait::until_job(client, outside.name(), "not-enrolled", "Complete", SOON * 2).await?;
    wait::until_running(client, inside.name(), "runs", &[], SOON * 2).await?;

    // Those that have to stay come first: every search that finds the others finds these as well.
    let mut stay = vec![pod_of(environment, inside.name(), "job-exists").await?];
    stay.push(orphan(environment, outside.name(), "not-enrolled").await?);
    for name in ["runs", "kept-longer", "opted-out"] {
        stay.push(orphan(environment, inside.name(), name).await?);
    }
    let mut go = Vec::new();
    for name in ["first", "second"] {
        go.push(orphan(environment, inside.name(), name).await?);
    }
    for name in ["first", "second"] {
        let is_success = |event: &CloudEvent| event.data.kind == OutcomeKind::Succeeded;
        environment.receiver.wait_for(inside.name(), name, SOON, is_success).await?;
    }
    for pod in &go {
        wait::until_gone::<Pod>(client, inside.name(), &pod.name_any(), RECOVERY).await?;
    }
    sleep(ONE_SWEEP).await;
    for pod in &stay {
        let namespace = pod.namespace().context("a pod has a namespace")?;
        let now = Api::<Pod>::namespaced(client.clone(), &namespace).get_opt(&pod.name_any()).await?;
        let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
        let is_there =
            |now: &Pod| now.uid() == pod.uid() && now.metadata.deletion_timestamp.is_none() && phase(now) == phase(pod);
        ensure!(now.as_ref().is_some_and(is_there), "{} was touched: {now:#?}", pod.name_any());
    }
    let jobs = Api::<Job>::namespaced(client.clone(), inside.name());
    jobs.get("job-exists").await.context("a Job was deleted before its retention")?;
    // The Job of the pod that still runs is reported all the same.
    let is_final = |event: &CloudEvent| event.data.kind.is_final();
    let data = environment.receiver.wait_for(inside.name(), "runs", SOON, is_final).await?.event.data;
    ensure!(data.reason == reason::JOB_DELETED, "{data:#?}");
    Ok(())
}

/// Deletes the Job without its pod, and returns the pod.
async fn orphan(environment: &Environment, namespace: &str, job: &str) -> anyhow::Result<Pod> {
    let jobs = Api::<Job>::namespaced(environment.client.clone(), namespace);
    jobs.delete(job, &DeleteParams::orphan()).await.with_context(|| format!("deleting Job {namespace}/{job}"))?;
    wait::until_gone::<Job>(&environment.client, namespace, job, SOON).await?;
    let pod = pod_of(environment, namespace, job).await?;
    let is_free = pod.owner_references().is_empty() && pod.metadata.deletion_timestamp.is_none();
    ensure!(is_free, "the pod of {namespace}/{job} was not left behind: {:#?}", pod.metadata);
    Ok(pod)
}

async fn pod_of(environment: &Environment, namespace: &str, job: &str) -> anyhow::Result<Pod> {
    let of_job = ListParams::default().labels(&format!("{}={job}", label::JOB_NAME));
    let pods = Api::<Pod>::namespaced(environment.client.clone(), namespace);
    let pods = pods.list(&of_job).await.with_context(|| format!("listing the pods of Job {namespace}/{job}"))?;
    pods.items.into_iter().next().with_context(|| format!("Job {namespace}/{job} has no pod"))
}
