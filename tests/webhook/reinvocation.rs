//! Other mutating webhooks, called after ours.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{SIDECAR_CONTAINER, label, object};
use jobwarden_tests::bed::Bed;
use jobwarden_tests::ground::Ground;
use jobwarden_tests::install::NAMESPACE;
use jobwarden_tests::job::Worker;
use jobwarden_tests::metrics;
use jobwarden_tests::mutator::Mutator;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::Outcome;

/// A pod that opts in and that no node takes.
pub(crate) fn pod(name: &str) -> anyhow::Result<Pod> {
    let template = Worker::new(name, 4, Duration::ZERO).job().spec.context("a Job has a spec")?.template;
    let mut spec = template.spec.context("a template has a spec")?;
    spec.node_selector = Some([("example.com/nowhere".to_owned(), "true".to_owned())].into());
    let mut pod = Pod { spec: Some(spec), ..Pod::default() };
    pod.metadata.name = Some(name.to_owned());
    pod.labels_mut().insert(label::INJECT.to_owned(), "true".to_owned());
    Ok(pod)
}

/// The restart policies of our sidecars in a pod: one of `Always`, if all is well.
pub(crate) fn sidecars(pod: &Pod) -> Vec<&str> {
    let containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    containers
        .filter(|container| container.name == SIDECAR_CONTAINER)
        .map(|container| container.restart_policy.as_deref().unwrap_or_default())
        .collect()
}

/// Puts a container before and behind those that the pod has, once.
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

/// What a program does whose type of a container has no restart policy.
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

/// Creates pods, for dry, until the API server calls the other webhook too: it hears of it a moment later.
async fn until_called(pods: &Api<Pod>, called: impl Fn(&Result<Pod, kube::Error>) -> bool) -> anyhow::Result<()> {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let probe = pod("probe")?;
    let probing = async {
        while !called(&pods.create(&dry_run, &probe).await) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), probing).await.context("the API server never calls the other webhook")
}

async fn mended(client: &Client) -> anyhow::Result<f64> {
    let selector = format!("app.kubernetes.io/name={}", object::WEBHOOK_SERVICE);
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE).list(&ListParams::default().labels(&selector)).await?;
    let mut sum = 0.0;
    for pod in pods {
        // One that is going away, or has just come, need not answer.
        if let Ok(text) = metrics::read(client, &pod.name_any()).await {
            sum += metrics::sum(&text, "jobwarden_admission_requests_total", "outcome=\"repaired\"");
        }
    }
    Ok(sum)
}

async fn with_mutator(
    ground: &Ground,
    namespace: &str,
    name: &str,
    reinvocation: &str,
    mutate: fn(&Value) -> Value,
    called: impl Fn(&Result<Pod, kube::Error>) -> bool,
) -> anyhow::Result<(Mutator, Api<Pod>)> {
    let pods = Api::<Pod>::namespaced(ground.client.clone(), namespace);
    let mutator = Mutator::start(&ground.cluster, name, namespace, reinvocation, mutate).await?;
    until_called(&pods, called).await?;
    Ok((mutator, pods))
}

pub(crate) async fn a_webhook_that_adds_containers_after_us_leaves_one_sidecar(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    for (name, reinvocation) in [("aa-adds", "Never"), ("zz-adds", "Never"), ("zz-adds-again", "IfNeeded")] {
        let namespace = ground.enrolled_namespace("adds").await?;
        let has_added = |pod: &Pod| {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            containers.filter(|container| container.name == "added").count()
        };
        let called = |pod: &Result<Pod, kube::Error>| pod.as_ref().is_ok_and(|pod| has_added(pod) > 0);
        let (mutator, pods) =
            with_mutator(ground, namespace.name(), name, reinvocation, add_containers, called).await?;
        let pod = pods.create(&PostParams::default(), &pod("work")?).await.context("creating a pod")?;
        mutator.end().await?;
        ensure!(sidecars(&pod) == ["Always"] && has_added(&pod) == 1, "{name}: {:?}", pod.spec);
    }
    Ok(())
}

pub(crate) async fn a_sidecar_that_another_webhook_strips_is_mended(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("strips").await?;
    let pods = Api::<Pod>::namespaced(ground.client.clone(), namespace.name());
    let before = mended(&ground.client).await?;
    let mutator = Mutator::start(&ground.cluster, "zz-strips", namespace.name(), "Never", strip).await?;
    // Whether it is called shows only in what we mend.
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let seen = async {
        while mended(&ground.client).await? <= before {
            pods.create(&dry_run, &pod("probe")?).await.context("probing")?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_mins(1), seen).await.context("nothing was ever mended")??;
    let pod = pods.create(&PostParams::default(), &pod("work")?).await.context("creating a pod")?;
    mutator.end().await?;
    ensure!(sidecars(&pod) == ["Always"], "{:?}", pod.spec);
    Ok(())
}

pub(crate) async fn a_sidecar_that_is_stripped_again_is_refused(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("strips-again").await?;
    // It is called again after we have mended what it did, and nobody comes after it.
    let (mutator, pods) =
        with_mutator(ground, namespace.name(), "zz-strips-again", "IfNeeded", strip, Result::is_err).await?;
    let refused = pods.create(&PostParams::default(), &pod("work")?).await;
    mutator.end().await?;
    let refusal = refused.err().context("a pod was created that would wait for ever")?.to_string();
    ensure!(refusal.contains("restartPolicy") && refusal.contains("jobwarden.io/inject"), "{refusal}");
    Ok(())
}
