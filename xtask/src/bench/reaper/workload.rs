//! Thousands of Jobs whose pods run, as far as the API server can tell.
//!
//! The nodes are objects without machines. This module writes what kubelets and the Job controller would write: nodes, Lease
//! renewals, and pods that are bound and running. The controllers are stopped because they create only 20 pods per second.
//! Admission works as usual, so Jobs and pods have what the webhook adds.

use std::{ops::Range, time::Duration};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jobwarden_common::names::{label, label_value};
use jobwarden_testbed::{TempNamespace, progress};
use jobwarden_tests::job::Worker;
use k8s_openapi::{
    api::{
        batch::v1::Job,
        coordination::v1::Lease,
        core::v1::{Container, Node, Pod},
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use crate::bench::environment::BenchEnvironment;

/// The number of nodes and of their zones.
const NODES: usize = 100;
const ZONES: usize = 3;

/// The namespace of the Leases that kubelets renew, and the time between two renewals (KEP-589).
const NODE_LEASES: &str = "kube-node-lease";
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// The number of concurrent requests to the API server.
const AT_ONCE: usize = 24;

/// Jobs, their pods, and the nodes that the pods are bound to.
pub(super) struct Workload {
    client: Client,
    namespace: TempNamespace,
    jobs: usize,
    pods: Vec<Pod>,
    renewing: JoinHandle<()>,
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Workload {
    /// Creates the nodes, and a namespace without Jobs.
    pub(super) async fn create(environment: &BenchEnvironment) -> anyhow::Result<Self> {
        let namespace = environment.cluster.temp_namespace("crowd", &[(label::INJECT, label_value::ENABLED)]).await?;
        environment.cluster.stop_controllers().await?;
        let client = environment.client.clone();
        let _step = progress::step(format!("creating {NODES} nodes without machines"));
        let nodes = stream::iter((0..NODES).map(|number| create_node(&client, number)));
        nodes.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        let renewing = tokio::spawn(renew(client.clone()));
        Ok(Self { client, namespace, jobs: 0, pods: Vec::new(), renewing })
    }

    /// Creates Jobs with `pods_a_job` pods each until there are `jobs` Jobs.
    pub(super) async fn grow(&mut self, jobs: usize, pods_a_job: usize) -> anyhow::Result<()> {
        let new: Range<usize> = self.jobs..jobs;
        let step = progress::step(format!("{jobs} Jobs with {} pods", self.pods.len() + new.len() * pods_a_job));
        let mut creating =
            stream::iter(new.map(|number| self.create_job(number, pods_a_job))).buffer_unordered(AT_ONCE);
        let mut pods = Vec::new();
        while let Some(created) = creating.try_next().await? {
            pods.extend(created);
            step.detail(format!("{}", self.jobs + pods.len() / pods_a_job));
        }
        drop(creating);
        self.pods.extend(pods);
        self.jobs = jobs;
        Ok(())
    }

    /// One of the pods.
    pub(super) fn any_pod(&self) -> anyhow::Result<&Pod> {
        self.pods.first().context("there are no pods")
    }

    /// One line per pod: UID, name, node.
    pub(super) fn list(&self) -> String {
        let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let line = |pod: &Pod| [pod.uid().unwrap_or_default(), pod.name_any(), node(pod)].join(" ");
        self.pods.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    async fn create_job(&self, number: usize, pods_a_job: usize) -> anyhow::Result<Vec<Pod>> {
        let jobs = Api::<Job>::namespaced(self.client.clone(), self.namespace.name());
        let name = format!("ort-analyzer-{number}");
        let mut job = Worker::new(&name, 4, Duration::from_hours(1))
            .label("run-id", &number.to_string())
            .label("ort-worker", "analyzer")
            .env("payload", &format!(r#"{{"analyzerJobId":{number}}}"#))
            .job();
        if let Some(spec) = &mut job.spec {
            let pods = i32::try_from(pods_a_job)?;
            (spec.parallelism, spec.completions) = (Some(pods), Some(pods));
        }
        let job = jobs.create(&PostParams::default(), &job).await.with_context(|| format!("creating {name}"))?;
        let status = json!({"status": {"active": pods_a_job, "ready": pods_a_job, "startTime": now()}});
        patch_status(&jobs, &name, &status).await?;
        let mut pods = Vec::with_capacity(pods_a_job);
        for index in 0..pods_a_job {
            pods.push(self.create_pod(&job, index, number + index).await?);
        }
        Ok(pods)
    }

    /// Creates a pod as the Job controller does, and marks it running on the node with this `number`.
    async fn create_pod(&self, job: &Job, index: usize, number: usize) -> anyhow::Result<Pod> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), self.namespace.name());
        let name = format!("{}-{index:05}", job.name_any());
        let template = &job.spec.as_ref().context("a Job has a spec")?.template;
        let of_template = template.metadata.clone().unwrap_or_default();
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": of_template.labels,
                "annotations": of_template.annotations,
                "finalizers": ["batch.kubernetes.io/job-tracking"],
                "ownerReferences": [{
                    "apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": job.uid(),
                    "controller": true, "blockOwnerDeletion": true
                }]
            },
            "spec": template.spec
        }))?;
        if let Some(spec) = &mut pod.spec {
            spec.node_name = Some(node_name(number % NODES));
            // The affinity requires a real node of the test cluster.
            spec.affinity = None;
        }
        let pod = pods.create(&PostParams::default(), &pod).await.with_context(|| format!("creating {name}"))?;
        patch_status(&pods, &name, &running(&pod, number)).await
    }
}

/// The status that a kubelet writes for a running pod.
fn running(pod: &Pod, number: usize) -> Value {
    let now = now();
    let spec = pod.spec.as_ref();
    let of = |containers: &[Container]| -> Vec<Value> {
        let status = |container: &Container| {
            json!({
                "name": container.name, "image": container.image, "imageID": format!("sha256:{:064x}", 1),
                "ready": true, "started": true, "restartCount": 0, "state": {"running": {"startedAt": now}},
                "containerID": format!("containerd://{:064x}", fastrand::u128(..))
            })
        };
        containers.iter().map(status).collect()
    };
    let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    let condition = |kind| json!({"type": kind, "status": "True", "lastTransitionTime": now});
    json!({"status": {
        "phase": "Running",
        "startTime": now,
        "podIP": format!("10.245.{}.{}", number / 250, number % 250),
        "conditions": conditions.map(condition),
        "initContainerStatuses": of(spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default()),
        "containerStatuses": of(spec.map(|spec| spec.containers.as_slice()).unwrap_or_default())
    }})
}

fn node_name(number: usize) -> String {
    format!("crowd-{number}")
}

fn now() -> String {
    format!("{:.0}", Timestamp::now())
}

async fn create_node(client: &Client, number: usize) -> anyhow::Result<()> {
    let name = node_name(number);
    let node: Node = serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "topology.kubernetes.io/zone": format!("zone-{}", number % ZONES)
            }
        }
    }))?;
    let nodes = Api::<Node>::all(client.clone());
    nodes.create(&PostParams::default(), &node).await.with_context(|| format!("creating node {name}"))?;
    let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": now()});
    patch_status(&nodes, &name, &json!({"status": {"conditions": [ready]}})).await?;
    let lease: Lease = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": MicroTime(Timestamp::now())}
    }))?;
    let leases = Api::<Lease>::namespaced(client.clone(), NODE_LEASES);
    leases.create(&PostParams::default(), &lease).await.with_context(|| format!("creating the Lease of {name}"))?;
    Ok(())
}

/// Renews one Lease after the other, without end.
async fn renew(client: Client) {
    let leases = Api::<Lease>::namespaced(client, NODE_LEASES);
    let mut ticks = interval(RENEW_EVERY / u32::try_from(NODES).unwrap_or(u32::MAX));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in (0..NODES).cycle() {
        ticks.tick().await;
        let renewed = json!({"spec": {"renewTime": MicroTime(Timestamp::now())}});
        let params = PatchParams::default();
        if let Err(error) = leases.patch(&node_name(number), &params, &Patch::Merge(renewed)).await {
            progress::note(format!("cannot renew a node's Lease: {error}"));
        }
    }
}

async fn patch_status<K>(api: &Api<K>, name: &str, status: &Value) -> anyhow::Result<K>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let patched = api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await;
    patched.with_context(|| format!("writing the status of {name}"))
}
