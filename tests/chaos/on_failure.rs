//! Jobs whose pods restart their containers in place (`restartPolicy: OnFailure`), where Kubernetes counts every restart of a
//! sidecar as a retry.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{SIDECAR_CONTAINER, annotation};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::environment::{ENDLESS, RECOVERY, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt as _};
use nix::sys::signal::Signal;

use crate::scenario::{BACKOFF_LIMIT_EXCEEDED, Scenario};

/// Retries, and whether one restart of the worker fails the Job (`pastBackoffLimitOnFailure` of the Job controller).
const LIMITS: [(u32, bool); 3] = [(0, true), (1, true), (2, false)];

/// How long a Job must go on before it counts as unharmed.
const UNHARMED: Duration = Duration::from_secs(20);

fn worker(limit: u32, node: &str) -> Worker {
    Worker::new(&format!("retries-{limit}"), 4, ENDLESS)
        .on_node(node)
        .restarting()
        .retries(limit)
        .annotation(annotation::LOST_AFTER, "10m")
        .annotation(annotation::START_TIMEOUT, "10m")
}

/// Creates the Job and waits until its worker runs. The verdict on a pod that only the agent sees is not `alive`.
async fn start_without_sidecar(scenario: &Scenario<'_>, worker: &Worker) -> anyhow::Result<Pod> {
    scenario.submit(worker).await?;
    let client = &scenario.environment.client;
    wait::until_running(client, scenario.namespace(), worker.name(), &[], SOON).await
}

fn has_sidecar(pod: &Pod) -> bool {
    pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten()).any(|it| it.name == SIDECAR_CONTAINER)
}

pub(crate) async fn no_sidecar_uses_up_the_retries_of_a_job_that_restarts_in_place(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "in-place").await?;
    for (limit, _) in LIMITS {
        let pod = start_without_sidecar(&scenario, &worker(limit, HOME)).await?;
        ensure!(!has_sidecar(&pod), "the pod of a Job with {limit} retries has a sidecar");
    }
    let running = scenario.start(&worker(3, HOME)).await?;
    ensure!(has_sidecar(&running.pod), "the pod of a Job with 3 retries has no sidecar");

    // Where one is asked for, a killed sidecar is the loss that the documentation describes.
    let asked =
        Worker::new("asked", 4, ENDLESS).on_node(HOME).restarting().annotation(annotation::ON_FAILURE, "sidecar");
    let asked = scenario.start(&asked).await?;
    for pod in [&asked.pod, &running.pod] {
        ensure!(has_sidecar(pod), "there is no sidecar in {}", pod.name_any());
        let environment = scenario.environment;
        environment
            .cluster
            .kill_process_in(scenario.namespace(), &pod.name_any(), SIDECAR_CONTAINER, Signal::SIGKILL)
            .await?;
    }
    scenario.notified("asked", OutcomeKind::Failed, BACKOFF_LIMIT_EXCEEDED, SOON).await?;
    // The test shows that nothing happens, so it has to let time pass.
    tokio::time::sleep(UNHARMED).await;
    for limit in [0, 1, 2, 3] {
        goes_on(&scenario.environment.client, scenario.namespace(), limit).await?;
    }
    scenario.close().await
}

pub(crate) async fn a_reboot_leaves_jobs_that_restart_in_place_as_they_are_without_jobwarden(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "reboot").await?;
    let node = scenario.environment.lease_node().await?;
    let environment = scenario.environment;
    let outside = environment.cluster.temp_namespace("reboot-outside", &[]).await?;
    for (limit, _) in LIMITS {
        start_without_sidecar(&scenario, &worker(limit, node.name())).await?;
        environment.submit(outside.name(), &worker(limit, node.name())).await?;
        wait::until_running(&environment.client, outside.name(), worker(limit, HOME).name(), &[], SOON).await?;
    }
    environment.cluster.crash(node.name()).await?;
    environment.cluster.start_node(node.name()).await?;
    scenario.wait_until_ready(&node).await?;

    for namespace in [outside.name(), scenario.namespace()] {
        for (limit, fails) in LIMITS {
            let job = format!("retries-{limit}");
            if fails {
                let reason = wait::until_job(&environment.client, namespace, &job, "Failed", RECOVERY).await?;
                ensure!(reason == BACKOFF_LIMIT_EXCEEDED, "{namespace}/{job} failed with {reason}");
            } else {
                until_restarted(&environment.client, namespace, &job).await?;
            }
        }
    }
    // The test shows that nothing happens, so it has to let time pass.
    tokio::time::sleep(UNHARMED).await;
    for (limit, _) in LIMITS.into_iter().filter(|(_, fails)| !fails) {
        goes_on(&environment.client, outside.name(), limit).await?;
        goes_on(&environment.client, scenario.namespace(), limit).await?;
    }
    for (limit, _) in LIMITS.into_iter().filter(|(_, fails)| *fails) {
        let job = format!("retries-{limit}");
        scenario.notified(&job, OutcomeKind::Failed, BACKOFF_LIMIT_EXCEEDED, SOON).await?;
    }
    scenario.close().await
}

/// Waits until the kubelet has restarted the worker.
async fn until_restarted(client: &Client, namespace: &str, job: &str) -> anyhow::Result<()> {
    let pod = wait::until_running(client, namespace, job, &[], RECOVERY).await?;
    let restarted = |pod: Option<&Pod>| {
        let statuses = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
        statuses.is_some_and(|all| all.iter().any(|it| it.restart_count > 0))
    };
    wait::until(client, namespace, &pod.name_any(), RECOVERY, "restarted", restarted).await.map(drop)
}

async fn goes_on(client: &Client, namespace: &str, limit: u32) -> anyhow::Result<()> {
    let name = format!("retries-{limit}");
    let job = Api::<Job>::namespaced(client.clone(), namespace).get(&name).await.context("reading the Job")?;
    let status = job.status.context("the Job has no status")?;
    let ended = status.conditions.iter().flatten().count();
    ensure!(ended == 0 && status.active == Some(1), "{namespace}/{name} does not go on: {status:#?}");
    Ok(())
}
