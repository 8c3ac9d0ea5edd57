//! Other mutating webhooks, called before or after jobwarden's.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{SIDECAR_CONTAINER, label, object};
use jobwarden_tests::environment::Environment;
use jobwarden_tests::install::NAMESPACE;
use jobwarden_tests::job::Worker;
use jobwarden_tests::metrics;
use jobwarden_tests::mutating_webhook::MutatingWebhook;
use jobwarden_tests::shared_cluster::SharedCluster;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

/// A bare pod that opts in and fits no node.
pub(crate) fn pod(name: &str) -> anyhow::Result<Pod> {
    let template = Worker::new(name, 4, Duration::ZERO).job().spec.context("the Job has no spec")?.template;
    let mut spec = template.spec.context("the template has no spec")?;
    spec.node_selector = Some([("example.com/nowhere".to_owned(), "true".to_owned())].into());
    let mut pod = Pod { spec: Some(spec), ..Pod::default() };
    pod.metadata.name = Some(name.to_owned());
    pod.labels_mut().insert(label::INJECT.to_owned(), "true".to_owned());
    Ok(pod)
}

/// The restart policies of jobwarden's sidecars in a pod. The correct value is one `Always`.
pub(crate) fn sidecars(pod: &Pod) -> Vec<&str> {
    let containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    containers
        .filter(|container| container.name == SIDECAR_CONTAINER)
        .map(|container| container.restart_policy.as_deref().unwrap_or_default())
        .collect()
}

/// Adds a container before and after those of the pod, once.
fn add_containers(pod: &Value) -> Value {
    let container = |name: &str| {
        let mut container = pod["spec"]["containers"][0].clone();
        container["name"] = json!(name);
        container
    };
    let containers = pod["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if containers.iter().any(|container| container["name"] == "added") {
        return json!([]);
    }
    let mut operations = vec![json!({"op": "add", "path": "/spec/containers/-", "value": container("added")})];
    let init = json!([container("added-first")]);
    operations.push(match pod["spec"]["initContainers"] {
        Value::Array(_) => json!({"op": "add", "path": "/spec/initContainers/0", "value": init[0]}),
        _ => json!({"op": "add", "path": "/spec/initContainers", "value": init}),
    });
    Value::Array(operations)
}

/// Removes the restart policy of containers, as a program does whose container type does not have that field.
pub(crate) fn strip(pod: &Value) -> Value {
    let mut containers = pod["spec"]["initContainers"].clone();
    let Some(list) = containers.as_array_mut() else { return json!([]) };
    for container in list {
        if let Some(members) = container.as_object_mut() {
            members.remove("restartPolicy");
        }
    }
    json!([{"op": "replace", "path": "/spec/initContainers", "value": containers}])
}

/// Creates pods as dry runs until the API server calls the other webhook, which is a moment after its registration.
async fn until_called(pods: &Api<Pod>, called: impl Fn(&Result<Pod, kube::Error>) -> bool) -> anyhow::Result<()> {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let probe = pod("probe")?;
    let probing = async {
        while !called(&pods.create(&dry_run, &probe).await) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), probing)
        .await
        .context("the API server does not call the other webhook")
}

async fn repaired(client: &Client) -> anyhow::Result<f64> {
    let selector = format!("app.kubernetes.io/name={}", object::WEBHOOK_SERVICE);
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE).list(&ListParams::default().labels(&selector)).await?;
    let mut sum = 0.0;
    for pod in pods {
        // A starting or terminating pod may not answer.
        if let Ok(text) = metrics::read(client, &pod.name_any()).await {
            sum += metrics::sum(&text, "jobwarden_admission_requests_total", "outcome=\"repaired\"");
        }
    }
    Ok(sum)
}

async fn with_mutator(
    environment: &Environment,
    namespace: &str,
    name: &str,
    reinvocation: &str,
    mutate: fn(&Value) -> Value,
    called: impl Fn(&Result<Pod, kube::Error>) -> bool,
) -> anyhow::Result<(MutatingWebhook, Api<Pod>)> {
    let pods = Api::<Pod>::namespaced(environment.client.clone(), namespace);
    let mutator = MutatingWebhook::start(&environment.cluster, name, namespace, reinvocation, mutate).await?;
    until_called(&pods, called).await?;
    Ok((mutator, pods))
}

pub(crate) async fn another_webhook_that_adds_containers_leaves_one_sidecar(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    for (name, reinvocation) in [("aa-adds", "Never"), ("zz-adds", "Never"), ("zz-adds-again", "IfNeeded")] {
        let namespace = environment.enrolled_namespace("adds").await?;
        let has_added = |pod: &Pod| {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            containers.filter(|container| container.name == "added").count()
        };
        let called = |pod: &Result<Pod, kube::Error>| pod.as_ref().is_ok_and(|pod| has_added(pod) > 0);
        let (mutator, pods) =
            with_mutator(environment, namespace.name(), name, reinvocation, add_containers, called).await?;
        let pod = pods.create(&PostParams::default(), &pod("work")?).await.context("creating a pod")?;
        mutator.unregister().await?;
        ensure!(sidecars(&pod) == ["Always"] && has_added(&pod) == 1, "{name}: {:?}", pod.spec);
    }
    Ok(())
}

pub(crate) async fn a_sidecar_stripped_by_another_webhook_is_repaired(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("strips").await?;
    let pods = Api::<Pod>::namespaced(environment.client.clone(), namespace.name());
    let before = repaired(&environment.client).await?;
    let mutator = MutatingWebhook::start(&environment.cluster, "zz-strips", namespace.name(), "Never", strip).await?;
    // Only jobwarden's repairs show that the other webhook is called.
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let repaired_once = async {
        while repaired(&environment.client).await? <= before {
            pods.create(&dry_run, &pod("probe")?).await.context("probing")?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_mins(1), repaired_once).await.context("no pod was repaired")??;
    let pod = pods.create(&PostParams::default(), &pod("work")?).await.context("creating a pod")?;
    mutator.unregister().await?;
    ensure!(sidecars(&pod) == ["Always"], "{:?}", pod.spec);
    Ok(())
}

pub(crate) async fn a_pod_whose_sidecar_is_stripped_again_is_rejected(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("strips-again").await?;
    // The API server calls it again after jobwarden's repair, and calls no webhook after it.
    let (mutator, pods) =
        with_mutator(environment, namespace.name(), "zz-strips-again", "IfNeeded", strip, Result::is_err).await?;
    let rejected = pods.create(&PostParams::default(), &pod("work")?).await;
    mutator.unregister().await?;
    let message = rejected.err().context("a pod with an init container that never ends was created")?.to_string();
    ensure!(message.contains("restartPolicy") && message.contains("jobwarden.io/inject"), "{message}");
    Ok(())
}
