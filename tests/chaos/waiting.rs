//! What Kubernetes waits for on purpose, and attempts that it has replaced: no Job is failed for them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{annotation, object, reason};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::environment::{ENDLESS, RECOVERY, SOON};
use jobwarden_tests::faults;
use jobwarden_tests::install::{HOME, NAMESPACE};
use jobwarden_tests::job::{WORKER_IMAGE, Worker, finish};
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, Node, Pod, PodSpec, Toleration};
use kube::api::{DeleteParams, EvictParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::time::sleep;

use crate::scenario::{BACKOFF_LIMIT_EXCEEDED, Scenario};

/// The Job controller's reason for a Job that ran too long, and ours.
const DEADLINE_EXCEEDED: &str = reason::DEADLINE_EXCEEDED;

pub(crate) async fn suspended_time_does_not_count_while_controllers_are_down(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "resumed").await?;
    let worker = Worker::new("resumed", 4, ENDLESS).on_node(HOME).annotation(annotation::ACTIVE_TIMEOUT, "60s");
    let running = scenario.start(&worker).await?;
    let environment = scenario.environment;
    scenario.set("resumed", json!({"suspend": true})).await?;
    let pod = running.pod.name_any();
    wait::until_gone::<Pod>(&environment.client, scenario.namespace(), &pod, SOON).await?;
    // Its start time is older than active-timeout now.
    sleep(Duration::from_secs(65)).await;
    environment.cluster.stop_controllers().await?;
    let resumed = scenario.set("resumed", json!({"suspend": false})).await;
    // Until the controllers are back, the Job has the old start time and is not suspended by its spec.
    sleep(Duration::from_secs(10)).await;
    environment.cluster.start_controllers().await?;
    resumed?;
    let pod = wait::until_running(&environment.client, scenario.namespace(), "resumed", &[&pod], SOON).await?;
    environment.finish(scenario.namespace(), &pod).await?;
    scenario.succeeds("resumed", SOON).await?;
    scenario.close().await
}

pub(crate) async fn a_job_whose_controller_backs_off_is_left_alone(cluster: &SharedCluster) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "patient").await?;
    let worker = Worker::new("patient", 4, Duration::from_secs(1))
        .on_node(HOME)
        .argument("--exit=3")
        .retries(5)
        .annotation(annotation::START_TIMEOUT, "60s")
        .annotation(annotation::NOT_STARTING, "fail");
    scenario.submit(&worker).await?;
    // The pauses are 10, 20, 40, 80 and 160 s.
    let within = Duration::from_mins(8);
    let failed = scenario.notified("patient", OutcomeKind::Failed, BACKOFF_LIMIT_EXCEEDED, within).await?;
    ensure!(failed.event.data.cause.exit_code == Some(3), "{:?}", failed.event.data.cause);
    scenario.close().await
}

pub(crate) async fn a_native_sidecar_that_warms_up_is_waited_for(cluster: &SharedCluster) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "warming").await?;
    let probe = json!({"exec": {"command": ["/worker"]}, "initialDelaySeconds": 90, "periodSeconds": 5});
    submit(&scenario, with_proxy("warming-up", "40s", &probe)?).await?;
    scenario.succeeds("warming-up", Duration::from_mins(4)).await?;
    scenario.close().await
}

pub(crate) async fn a_native_sidecar_that_never_warms_up_is_the_cause_of_a_loss(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "cold").await?;
    let probe = json!({"exec": {"command": ["/worker", "--exit", "1"]}, "periodSeconds": 5, "failureThreshold": 3});
    submit(&scenario, with_proxy("never-warm", "60s", &probe)?).await?;
    let within = Duration::from_mins(8);
    let lost = scenario.notified("never-warm", OutcomeKind::Lost, reason::START_TIMEOUT, within).await?;
    ensure!(lost.event.data.cause.container.as_deref() == Some("proxy"), "{:?}", lost.event.data.cause);
    scenario.close().await
}

pub(crate) async fn a_pod_starts_when_its_node_is_ready_again(cluster: &SharedCluster) -> anyhow::Result<()> {
    let scenario = Scenario::open(cluster, "thawed").await?;
    let environment = scenario.environment;
    let node = environment.lease_node().await?;
    environment.cluster.freeze_runtime(node.name()).await?;
    environment.cluster.wait_for_node(node.name(), false, Duration::from_mins(5)).await?;
    let worker = Worker::new("patient", 4, ENDLESS).on_node(node.name()).annotation(annotation::START_TIMEOUT, "30s");
    let job = changed(&worker, |spec| {
        spec.tolerations = Some(vec![Toleration { operator: Some("Exists".to_owned()), ..Toleration::default() }]);
    });
    let submitted = submit(&scenario, job).await;
    // Far longer than start-timeout.
    sleep(Duration::from_secs(90)).await;
    environment.cluster.thaw_runtime(node.name()).await?;
    submitted?;
    let pod = wait::until_running(&environment.client, scenario.namespace(), "patient", &[], RECOVERY).await?;
    environment.finish(scenario.namespace(), &pod).await?;
    wait::until_job(&environment.client, scenario.namespace(), "patient", "Complete", SOON).await?;
    // That the node is away may be worth a notice; a loss it is not.
    let received = environment.receiver.received();
    let here = received.iter().filter(|it| it.event.data.namespace == scenario.namespace());
    let lost: Vec<_> = here
        .filter(|it| {
            !matches!(it.event.data.kind, OutcomeKind::Suspect | OutcomeKind::Recovered | OutcomeKind::Succeeded)
        })
        .collect();
    ensure!(lost.is_empty(), "{lost:#?}");
    scenario.wait_until_ready(&node).await
}

pub(crate) async fn an_exit_code_behind_a_stalled_runtime_is_waited_for(cluster: &SharedCluster) -> anyhow::Result<()> {
    let node = cluster.environment().await?.lease_node().await?;
    let mut scenario = Scenario::open(cluster, "stalled").await?;
    let running = scenario.start(&Worker::new("done", 4, ENDLESS).on_node(node.name())).await?;
    let environment = scenario.environment;
    environment.wait_for_warm_up().await?;
    environment.cluster.freeze_runtime(node.name()).await?;
    let finished = finish(running.process);
    sleep(Duration::from_secs(100)).await;
    environment.cluster.thaw_runtime(node.name()).await?;
    finished?;
    scenario.succeeds("done", RECOVERY).await?;
    scenario.wait_until_ready(&node).await?;
    scenario.close().await
}

pub(crate) async fn a_drained_worker_whose_node_is_deleted_fails_no_job(cluster: &SharedCluster) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "moved").await?;
    let environment = scenario.environment;
    let node = environment.lease_node().await?;
    let worker = Worker::new("moved", 4, ENDLESS)
        .near_node(node.name())
        .retries(6)
        .argument("--ignore-term")
        .annotation(annotation::ON_LOST, "fail");
    submit(&scenario, changed(&worker, |spec| spec.termination_grace_period_seconds = Some(300))).await?;
    let first = wait::until_running(&environment.client, scenario.namespace(), "moved", &[], SOON).await?;
    let on = first.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    ensure!(on == Some(node.name()), "the first attempt is on {on:?}");
    environment.wait_for_warm_up().await?;
    environment.cluster.kubectl(["cordon", node.name()]).await?;
    let pods = Api::<Pod>::namespaced(environment.client.clone(), scenario.namespace());
    pods.evict(&first.name_any(), &EvictParams::default()).await.context("draining the node")?;
    let replacement =
        wait::until_running(&environment.client, scenario.namespace(), "moved", &[&first.name_any()], SOON).await?;
    environment.cluster.crash(node.name()).await?;
    let nodes = Api::<Node>::all(environment.client.clone());
    nodes.delete(node.name(), &DeleteParams::default()).await?;
    // Row P2 finds the loss after 30 s at most; the test shows that nothing follows from it.
    sleep(Duration::from_mins(1)).await;
    environment.finish(scenario.namespace(), &replacement).await?;
    scenario.succeeds("moved", SOON).await?;
    environment.cluster.start_node(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    scenario.close().await
}

pub(crate) async fn a_reaper_whose_clock_is_wrong_keeps_deadlines(cluster: &SharedCluster) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "skewed").await?;
    let result = async {
        for seconds in [120, -120] {
            set_clock_skew(&scenario, &format!("={seconds}")).await?;
            scenario.environment.wait_for_warm_up().await?;
            let job = format!("overdue-{}", if seconds > 0 { "ahead" } else { "behind" });
            let worker = Worker::new(&job, 4, ENDLESS).on_node(HOME).annotation(annotation::ACTIVE_TIMEOUT, "45s");
            scenario.start(&worker).await?;
            let started = Instant::now();
            // Another reaper reads the start time when it is old already.
            faults::kill_leader(&scenario.environment.cluster).await?;
            let failed = scenario.notified(&job, OutcomeKind::Failed, DEADLINE_EXCEEDED, SOON * 3).await?;
            let took = failed.at.saturating_duration_since(started);
            // It was started a moment before it was seen to run.
            ensure!(took >= Duration::from_secs(30), "clock {seconds} s ahead: overdue after {took:?}");
            ensure!(took <= Duration::from_secs(75), "clock {seconds} s ahead: overdue after {took:?}");
        }
        anyhow::Ok(())
    }
    .await;
    set_clock_skew(&scenario, "-").await?;
    result?;
    scenario.environment.wait_for_warm_up().await?;
    scenario.close().await
}

/// Sets or removes (`-`) the skew of the clock that the reapers see, and waits until they have restarted.
async fn set_clock_skew(scenario: &Scenario<'_>, to: &str) -> anyhow::Result<()> {
    let (namespace, deployment) =
        (format!("--namespace={NAMESPACE}"), format!("deployment/{}", object::REAPER_SERVICE));
    let variable = format!("JOBWARDEN_CLOCK_SKEW_SECONDS{to}");
    let cluster = &scenario.environment.cluster;
    cluster.kubectl(["set", "env", &namespace, &deployment, &variable]).await.context("setting the skew")?;
    cluster.kubectl(["rollout", "status", &namespace, &deployment, "--timeout=180s"]).await.context("restarting")?;
    Ok(())
}

/// The worker's Job with another pod spec.
fn changed(worker: &Worker, change: impl FnOnce(&mut PodSpec)) -> Job {
    let mut job = worker.job();
    if let Some(spec) = job.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()) {
        change(spec);
    }
    job
}

/// A short Job whose native sidecar has this startup probe.
fn with_proxy(name: &str, start_timeout: &str, probe: &serde_json::Value) -> anyhow::Result<Job> {
    let worker = Worker::new(name, 4, Duration::from_secs(5))
        .on_node(HOME)
        .annotation(annotation::START_TIMEOUT, start_timeout)
        .annotation(annotation::ON_LOST, "fail");
    let proxy: Container = serde_json::from_value(json!({
        "name": "proxy",
        "image": WORKER_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--for=1h"],
        "restartPolicy": "Always",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        "startupProbe": probe,
    }))?;
    Ok(changed(&worker, |spec| spec.init_containers = Some(vec![proxy])))
}

async fn submit(scenario: &Scenario<'_>, job: Job) -> anyhow::Result<()> {
    let jobs = Api::<Job>::namespaced(scenario.environment.client.clone(), scenario.namespace());
    jobs.create(&PostParams::default(), &job).await.with_context(|| format!("creating Job {}", job.name_any()))?;
    Ok(())
}
