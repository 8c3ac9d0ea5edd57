//! Jobs that something other than a death keeps from ending, and the notices about them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{SIDECAR_CONTAINER, annotation, label, port, reason};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_testbed::Traffic;
use jobwarden_tests::environment::{ENDLESS, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::{Worker, finish};
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::scenario::{LOST, LOST_AFTER, RECOVERED, Scenario};
use crate::workers::NO_IMAGE;

/// start-timeout of these Jobs.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// start-timeout of a Job whose node is to reboot before it has passed.
const PULL_TIMEOUT: Duration = Duration::from_mins(1);

/// Creates the Job of a worker with changes of its manifest.
async fn submit(scenario: &Scenario<'_>, worker: &Worker, change: impl FnOnce(&mut Value)) -> anyhow::Result<()> {
    let mut job = serde_json::to_value(worker.job())?;
    change(&mut job["spec"]);
    let job: Job = serde_json::from_value(job)?;
    let jobs = Api::<Job>::namespaced(scenario.environment.client.clone(), scenario.namespace());
    jobs.create(&PostParams::default(), &job).await.with_context(|| format!("creating Job {}", worker.name()))?;
    Ok(())
}

async fn running(scenario: &Scenario<'_>, job: &str, except: &[&str]) -> anyhow::Result<Pod> {
    wait::until_running(&scenario.environment.client, scenario.namespace(), job, except, 2 * SOON).await
}

async fn pods_of(scenario: &Scenario<'_>, job: &str) -> anyhow::Result<Vec<Pod>> {
    let pods = Api::<Pod>::namespaced(scenario.environment.client.clone(), scenario.namespace());
    let selector = format!("{}={job}", label::JOB_NAME);
    Ok(pods.list(&ListParams::default().labels(&selector)).await?.items)
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref())
}

fn patient(worker: Worker) -> Worker {
    worker.annotation(annotation::START_TIMEOUT, &format!("{}s", START_TIMEOUT.as_secs()))
}

pub(crate) async fn a_worker_that_is_heard_again_is_reported_and_its_later_loss_as_well(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "told-twice").await?;
    let node = scenario.environment.lease_node().await?;
    let worker = Worker::new("reported", 4, ENDLESS).on_node(node.name()).annotation(annotation::ON_LOST, "report");
    scenario.start(&worker).await?;
    scenario.environment.wait_for_warm_up().await?;
    let blocked = Traffic::ToPort(port::REAPER);
    scenario.environment.cluster.block(node.name(), blocked).await?;
    scenario.notified("reported", OutcomeKind::Suspect, reason::UNSEEN, LOST_AFTER + SOON).await?;
    scenario.environment.cluster.unblock(node.name(), blocked).await?;
    scenario.notified("reported", RECOVERED.0, RECOVERED.1, SOON).await?;
    scenario.environment.cluster.crash(node.name()).await?;
    let within = LOST_AFTER + SOON;
    scenario.notified("reported", OutcomeKind::Suspect, reason::NODE_UNREACHABLE, within).await?;
    // The rebooted kubelet reports the end of the worker, and Kubernetes fails the Job.
    scenario.environment.cluster.start_node(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    scenario.notified("reported", OutcomeKind::Failed, crate::scenario::BACKOFF_LIMIT_EXCEEDED, 2 * SOON).await?;
    scenario.close().await
}

pub(crate) async fn a_job_that_replaces_only_failed_pods_is_failed_after_stranded_after(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "stranded").await?;
    let node = scenario.environment.lease_node().await?;
    let worker = |name| {
        Worker::new(name, 4, ENDLESS).near_node(node.name()).retries(3).annotation(annotation::STRANDED_AFTER, "20s")
    };
    submit(&scenario, &worker("replaces"), |spec| spec["podReplacementPolicy"] = "Failed".into()).await?;
    let ignore =
        json!({"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]});
    submit(&scenario, &worker("ignores"), |spec| spec["podFailurePolicy"] = ignore).await?;
    for job in ["replaces", "ignores"] {
        ensure!(node_of(&running(&scenario, job, &[]).await?) == Some(node.name()), "{job} runs elsewhere");
    }
    scenario.environment.wait_for_warm_up().await?;
    scenario.environment.cluster.crash(node.name()).await?;
    for job in ["replaces", "ignores"] {
        scenario.notified(job, OutcomeKind::AttemptFailed, reason::NODE_UNREACHABLE, LOST_AFTER + SOON).await?;
        scenario.notified(job, OutcomeKind::Suspect, reason::STRANDED, SOON).await?;
        scenario.notified(job, LOST.0, LOST.1, 3 * SOON).await?;
        let failed = wait::until_job(&scenario.environment.client, scenario.namespace(), job, "Failed", SOON).await?;
        ensure!(failed == reason::NODE_UNREACHABLE, "{job} is Failed with {failed}");
    }
    scenario.environment.cluster.start_node(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    scenario.close().await
}

pub(crate) async fn a_retry_goes_to_a_node_that_lives_and_costs_one_attempt(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "retries").await?;
    let node = scenario.environment.lease_node().await?;
    scenario.start(&Worker::new("again", 4, ENDLESS).near_node(node.name()).retries(2)).await?;
    let first = running(&scenario, "again", &[]).await?;
    ensure!(node_of(&first) == Some(node.name()), "the pod runs elsewhere");
    scenario.environment.wait_for_warm_up().await?;
    let crashed = Instant::now();
    scenario.environment.cluster.crash(node.name()).await?;
    let bound = (crashed, LOST_AFTER + Duration::from_secs(2));
    scenario.notified_in_time("again", OutcomeKind::AttemptFailed, reason::NODE_UNREACHABLE, bound).await?;
    let second = running(&scenario, "again", &[&first.name_any()]).await?;
    ensure!(node_of(&second) != Some(node.name()), "the retry was placed on the dead node");
    let job = Api::<Job>::namespaced(scenario.environment.client.clone(), scenario.namespace()).get("again").await?;
    let failed = job.status.as_ref().and_then(|status| status.failed);
    ensure!(failed == Some(1), "{failed:?} of 2 retries are used");
    scenario.environment.cluster.start_node(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    scenario.environment.finish(scenario.namespace(), &second).await?;
    scenario.succeeds("again", 3 * SOON).await?;
    scenario.close().await
}

/// A second main container that runs for an hour.
fn with_helper(spec: &mut Value) {
    let containers = &mut spec["template"]["spec"]["containers"];
    let mut helper = containers[0].clone();
    (helper["name"], helper["args"]) = ("helper".into(), json!(["--for=1h"]));
    if let Some(containers) = containers.as_array_mut() {
        containers.push(helper);
    }
}

pub(crate) async fn a_helper_that_never_ends_is_reported_once(cluster: &SharedCluster) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "helper").await?;
    let worker = patient(Worker::new("helped", 4, Duration::from_secs(3)).on_node(HOME));
    submit(&scenario, &worker, with_helper).await?;
    let pod = running(&scenario, "helped", &[]).await?;
    let within = START_TIMEOUT + SOON;
    let notice = scenario.notified("helped", OutcomeKind::Suspect, reason::CONTAINER_EXITED, within).await?;
    let data = notice.event.data;
    ensure!(data.decided_by.row == "S3" && data.message.contains("worker ended with exit code 0"), "{data:#?}");
    finish(scenario.environment.cluster.process_of(scenario.namespace(), &pod.name_any(), "helper").await?)?;
    scenario.succeeds("helped", SOON).await?;
    scenario.close().await
}

pub(crate) async fn a_failed_container_beside_one_that_runs_on_is_reported_or_fails_its_job_by_choice(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "one-fails").await?;
    let worker = |name| patient(Worker::new(name, 4, Duration::from_secs(3)).on_node(HOME).argument("--exit=5"));
    submit(&scenario, &worker("waits"), with_helper).await?;
    submit(&scenario, &worker("fails").annotation(annotation::ON_CONTAINER_EXIT, "fail"), with_helper).await?;
    let failed = scenario.notified("fails", OutcomeKind::Failed, reason::CONTAINER_FAILED, SOON).await?.event.data;
    ensure!(failed.cause.exit_code == Some(5) && failed.cause.container.as_deref() == Some("worker"), "{failed:#?}");
    let within = START_TIMEOUT + SOON;
    let notice = scenario.notified("waits", OutcomeKind::Suspect, reason::CONTAINER_EXITED, within).await?.event.data;
    ensure!(notice.message.contains("exit code 5"), "{notice:#?}");
    scenario.close().await
}

pub(crate) async fn a_pod_without_a_node_is_reported_in_the_schedulers_words(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "too-big").await?;
    let worker = patient(Worker::new("too-big", 4, ENDLESS));
    let huge = json!({"requests": {"cpu": "500"}});
    submit(&scenario, &worker, |spec| spec["template"]["spec"]["containers"][0]["resources"] = huge).await?;
    let within = START_TIMEOUT + SOON;
    let notice = scenario.notified("too-big", OutcomeKind::Suspect, reason::UNSCHEDULED, within).await?.event.data;
    ensure!(notice.message.contains("Insufficient cpu"), "{notice:#?}");
    scenario.close().await
}

pub(crate) async fn a_pod_on_a_node_that_is_not_ready_is_reported_and_lives_when_the_node_is_back(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let node = cluster.environment().await?.lease_node().await?;
    let mut scenario = Scenario::open(cluster, "sick-node").await?;
    scenario.environment.cluster.freeze_runtime(node.name()).await?;
    scenario.environment.cluster.wait_for_node(node.name(), false, 3 * SOON).await?;
    let worker = patient(Worker::new("tolerant", 4, ENDLESS).on_node(node.name()));
    submit(&scenario, &worker, |spec| spec["template"]["spec"]["tolerations"] = json!([{"operator": "Exists"}]))
        .await?;
    let within = START_TIMEOUT + 2 * SOON;
    let notice = scenario.notified("tolerant", OutcomeKind::Suspect, reason::NODE_NOT_READY, within).await;
    scenario.environment.cluster.thaw_runtime(node.name()).await?;
    ensure!(notice?.event.data.decided_by.row == "S2");
    let pod = running(&scenario, "tolerant", &[]).await?;
    scenario.notified("tolerant", RECOVERED.0, RECOVERED.1, SOON).await?;
    scenario.environment.finish(scenario.namespace(), &pod).await?;
    scenario.succeeds("tolerant", SOON).await?;
    scenario.wait_until_ready(&node).await?;
    scenario.close().await
}

pub(crate) async fn an_init_container_that_never_ends_is_lost_after_init_timeout(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "init").await?;
    scenario.environment.wait_for_warm_up().await?;
    let worker = Worker::new("prepares", 4, ENDLESS).on_node(HOME).annotation(annotation::INIT_TIMEOUT, "15s");
    submit(&scenario, &worker, |spec| {
        let pod = &mut spec["template"]["spec"];
        let mut init = pod["containers"][0].clone();
        init["name"] = "prepare".into();
        pod["initContainers"] = json!([init]);
    })
    .await?;
    let lost = scenario.notified("prepares", OutcomeKind::Lost, reason::INIT_TIMEOUT, 2 * SOON).await?.event.data;
    ensure!(lost.decided_by.row == "P14" && lost.message.contains("prepare"), "{lost:#?}");
    scenario.close().await
}

pub(crate) async fn a_node_that_its_cloud_provider_reports_shut_down_ends_the_wait(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "shut-down").await?;
    let node = scenario.environment.lease_node().await?;
    let worker = Worker::new("switched-off", 4, ENDLESS).on_node(node.name()).annotation(annotation::LOST_AFTER, "10m");
    scenario.start(&worker).await?;
    scenario.environment.wait_for_warm_up().await?;
    scenario.environment.cluster.crash(node.name()).await?;
    scenario.environment.cluster.wait_for_node(node.name(), false, 3 * SOON).await?;
    let taint = "node.cloudprovider.kubernetes.io/shutdown:NoSchedule";
    scenario.environment.cluster.kubectl(["taint", "node", node.name(), taint]).await?;
    let bound = (Instant::now(), Duration::from_secs(30));
    let lost = scenario.notified_in_time("switched-off", OutcomeKind::Lost, reason::NODE_GONE, bound).await;
    scenario.environment.cluster.kubectl(["taint", "node", node.name(), &format!("{taint}-")]).await?;
    ensure!(lost?.event.data.decided_by.row == "P2");
    scenario.environment.cluster.start_node(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    scenario.close().await
}

/// A policy that refuses whatever the reaper writes to Jobs and pods of one namespace.
fn refusing(namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": namespace},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [
                    {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["jobs/status"]},
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["pods"]}
                ]},
                "matchConditions": [{
                    "name": "the-reaper",
                    "expression": "request.userInfo.username == 'system:serviceaccount:jobwarden:jobwarden-reaper'"
                }],
                "validations": [{"expression": "false", "message": "frozen by the administrator"}]
            }
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": namespace},
            "spec": {
                "policyName": namespace, "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
            }
        }
    ]})
}

pub(crate) async fn a_refused_write_is_reported_and_tried_again(cluster: &SharedCluster) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "refused").await?;
    let node = scenario.environment.lease_node().await?;
    scenario.start(&Worker::new("frozen", 4, ENDLESS).on_node(node.name())).await?;
    scenario.environment.wait_for_warm_up().await?;
    let namespace = scenario.namespace().to_owned();
    let policy = refusing(&namespace).to_string();
    scenario.environment.cluster.apply(&policy).await?;
    // The API server compiles a new policy within seconds.
    sleep(Duration::from_secs(10)).await;
    scenario.environment.cluster.crash(node.name()).await?;
    let lost = scenario.notified("frozen", LOST.0, LOST.1, LOST_AFTER + SOON).await;
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        scenario.environment.cluster.kubectl(["delete", kind, &namespace]).await?;
    }
    let message = lost?.event.data.message;
    ensure!(message.contains("frozen by the administrator"), "{message}");
    let failed = wait::until_job(&scenario.environment.client, &namespace, "frozen", "Failed", 3 * SOON).await?;
    ensure!(failed == reason::NODE_UNREACHABLE, "the Job is Failed with {failed}");
    scenario.environment.cluster.start_node(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    scenario.close().await
}

/// The image of the sidecar, from the pod of the bystander.
async fn sidecar_image(scenario: &Scenario<'_>) -> anyhow::Result<String> {
    let pods = Api::<Pod>::namespaced(scenario.environment.client.clone(), scenario.namespace());
    let listed = pods.list(&ListParams::default()).await.context("listing pods")?;
    let specs = listed.items.into_iter().filter_map(|pod| pod.spec);
    let sidecar =
        specs.flat_map(|spec| spec.init_containers.unwrap_or_default()).find(|it| it.name == SIDECAR_CONTAINER);
    sidecar.and_then(|sidecar| sidecar.image).context("no pod has a sidecar")
}

/// The kubelet makes no other sandbox for the pod, since its sidecar has run.
pub(crate) async fn a_reboot_while_an_image_is_pulled_is_reported_after_start_timeout(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "pulled").await?;
    let node = scenario.environment.lease_node().await?;
    let timeout = format!("{}s", PULL_TIMEOUT.as_secs());
    let worker = Worker::new("pulls", 4, ENDLESS)
        .on_node(node.name())
        .image(NO_IMAGE)
        .annotation(annotation::START_TIMEOUT, &timeout);
    scenario.submit(&worker).await?;
    let client = &scenario.environment.client;
    let active = |job: Option<&Job>| job.and_then(|job| job.status.as_ref()?.active) == Some(1);
    wait::until(client, scenario.namespace(), "pulls", SOON, "active", active).await?;
    let pod = pods_of(&scenario, "pulls").await?.first().context("the Job has no pod")?.name_any();
    wait::until(client, scenario.namespace(), &pod, SOON, "started", sidecar_runs).await?;

    scenario.environment.cluster.crash(node.name()).await?;
    scenario.environment.cluster.start_node(node.name()).await?;
    scenario.wait_until_ready(&node).await?;
    let within = PULL_TIMEOUT + 2 * SOON;
    let notification = scenario.notified("pulls", OutcomeKind::Lost, reason::START_TIMEOUT, within).await?;
    let data = notification.event.data;
    ensure!(data.decided_by.row == "P3" && data.message.contains("lost its sandbox"), "{data:#?}");
    scenario.close().await
}

/// Whether the sidecar runs.
fn sidecar_runs(pod: Option<&Pod>) -> bool {
    let statuses = pod.and_then(|pod| pod.status.as_ref()?.init_container_statuses.as_ref());
    let runs = |status: &ContainerStatus| status.name == SIDECAR_CONTAINER && status.started == Some(true);
    statuses.is_some_and(|all| all.iter().any(runs))
}

pub(crate) async fn a_sidecar_without_its_image_is_reported_and_its_job_is_not_failed(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "no-sidecar").await?;
    let node = scenario.environment.lease_node().await?;
    let image = sidecar_image(&scenario).await?;
    scenario.environment.cluster.remove_image(node.name(), &image).await?;
    scenario.submit(&patient(Worker::new("kept", 4, ENDLESS).on_node(node.name()))).await?;
    let within = START_TIMEOUT + SOON;
    let notice = scenario.notified("kept", OutcomeKind::Suspect, reason::SIDECAR_FAULT, within).await;
    // The test shows that nothing more happens, so it has to let time pass.
    sleep(START_TIMEOUT).await;
    scenario.environment.cluster.import_again(node.name()).await?;
    let message = notice?.event.data.message;
    ensure!(message.contains("pull the sidecar's image"), "{message}");
    // The kubelet pulls again after up to five minutes.
    let pods = pods_of(&scenario, "kept").await?;
    ensure!(pods.iter().all(|pod| pod.metadata.deletion_timestamp.is_none()), "the pod is being deleted");
    let jobs = Api::<Job>::namespaced(scenario.environment.client.clone(), scenario.namespace());
    let job = jobs.get("kept").await?;
    ensure!(job.status.iter().flat_map(|status| status.conditions.iter().flatten()).count() == 0, "{:?}", job.status);
    jobs.delete("kept", &DeleteParams::background()).await?;
    scenario.notified("kept", OutcomeKind::Lost, reason::JOB_DELETED, SOON).await?;
    scenario.close().await
}
