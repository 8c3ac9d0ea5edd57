//! Namespaces with a `LimitRange` or a `ResourceQuota`.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use jobwarden_common::names::{SIDECAR_CONTAINER, annotation, label};
use jobwarden_tests::environment::{Environment, SOON};
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota};
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::harmless::dry_run_warnings;
use crate::other_webhooks::{pod, sidecars};

async fn create_limit_range(environment: &Environment, namespace: &str, limit: Value) -> anyhow::Result<()> {
    let range = json!({"metadata": {"name": "range"}, "spec": {"limits": [limit]}});
    let ranges = Api::<LimitRange>::namespaced(environment.client.clone(), namespace);
    ranges.create(&PostParams::default(), &serde_json::from_value(range)?).await.context("creating a LimitRange")?;
    Ok(())
}

/// Creates the object as a dry run until it is admitted as `wanted`: the webhook learns of a `LimitRange` a moment after its creation.
async fn until_admitted<K>(api: &Api<K>, object: &K, wanted: impl Fn(&K) -> bool) -> anyhow::Result<K>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let give_up = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let result = api.create(&dry_run, object).await;
        match result {
            Ok(object) if wanted(&object) => return Ok(object),
            result if tokio::time::Instant::now() >= give_up => {
                let object = result.context("creating an object as a dry run")?;
                bail!("it was not admitted as expected: {object:#?}");
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

pub(crate) async fn a_sidecar_fits_into_the_limit_range_of_its_namespace(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("limits").await?;
    let limit = json!({
        "type": "Container", "min": {"memory": "24Mi"}, "default": {"memory": "64Mi"}, "defaultRequest": {"memory": "64Mi"},
    });
    create_limit_range(environment, namespace.name(), limit).await?;
    let pods = Api::<Pod>::namespaced(environment.client.clone(), namespace.name());
    let pod = until_admitted(&pods, &pod("fits")?, |pod| sidecars(pod) == ["Always"]).await?;
    let memory = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten()).find_map(|container| {
        let limits = container.resources.as_ref().filter(|_| container.name == SIDECAR_CONTAINER)?.limits.as_ref()?;
        Some(limits.get("memory")?.0.clone())
    });
    ensure!(memory.as_deref() == Some("24Mi"), "the sidecar has {memory:?}");
    Ok(())
}

pub(crate) async fn a_pod_without_room_for_the_sidecar_runs_without_it_and_its_job_is_warned(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("full").await?;
    let full = json!({"cpu": "1", "memory": "1Gi"});
    create_limit_range(environment, namespace.name(), json!({"type": "Pod", "max": full})).await?;
    let mut pod = pod("full")?;
    let container =
        pod.spec.as_mut().and_then(|spec| spec.containers.first_mut()).context("the pod has no container")?;
    container.resources = Some(serde_json::from_value(json!({"requests": full, "limits": full}))?);
    let pods = Api::<Pod>::namespaced(environment.client.clone(), namespace.name());
    let admitted = until_admitted(&pods, &pod, |pod| sidecars(pod).is_empty()).await?;
    ensure!(admitted.labels().contains_key(label::ENROLLED), "{:?}", admitted.metadata);
    ensure!(
        admitted.annotations().get(annotation::NO_SIDECAR).is_some_and(|it| it == "LimitRange"),
        "{:?}",
        admitted.metadata
    );

    let mut job = json!(Worker::new("full", 4, Duration::ZERO).job());
    job["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": full, "limits": full});
    let warnings = dry_run_warnings(environment, namespace.name(), &job).await?;
    ensure!(warnings.contains("sidecar") && warnings.contains("LimitRange"), "the warnings are: {warnings}");
    Ok(())
}

pub(crate) async fn a_quota_counts_the_sidecar_and_rejects_nothing_else(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("quota").await?;
    // A quota rejects every container without requests and limits.
    let quota: ResourceQuota = serde_json::from_value(json!({
        "metadata": {"name": "small"},
        "spec": {"hard": {"requests.cpu": "115m", "limits.cpu": "1", "requests.memory": "1Gi", "limits.memory": "1Gi"}},
    }))?;
    let quotas = Api::<ResourceQuota>::namespaced(environment.client.clone(), namespace.name());
    quotas.create(&PostParams::default(), &quota).await.context("creating a quota")?;
    let sized = |name: &str| {
        let mut pod = pod(name)?;
        let container =
            pod.spec.as_mut().and_then(|spec| spec.containers.first_mut()).context("the pod has no container")?;
        container.resources = Some(serde_json::from_value(json!({
            "requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"},
        }))?);
        anyhow::Ok(pod)
    };
    let pods = Api::<Pod>::namespaced(environment.client.clone(), namespace.name());
    // A pod that is created before the API server knows of the quota is not counted, and what its controller computes first may be older.
    let computed = |quota: Option<&ResourceQuota>| {
        quota.and_then(|quota| quota.status.as_ref()).is_some_and(|status| status.hard.is_some())
    };
    wait::until(&environment.client, namespace.name(), "small", SOON, "computed", computed).await?;
    // The API server rejects pods until it has computed the quota's status.
    let created = async {
        loop {
            match pods.create(&PostParams::default(), &sized("fits")?).await {
                Ok(pod) => return anyhow::Ok(pod),
                Err(error) if error.to_string().contains("status unknown for quota") => {}
                Err(error) => return Err(error).context("creating a pod that fits with its sidecar"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let pod = tokio::time::timeout(Duration::from_secs(30), created).await.context("the quota has no status")??;
    ensure!(sidecars(&pod) == ["Always"], "{:?}", pod.spec);

    let used = quotas.get("small").await?.status.and_then(|status| status.used).unwrap_or_default();
    let cpu = used.get("requests.cpu").map(|quantity| quantity.0.as_str());
    ensure!(cpu == Some("110m"), "expected a worker of 100m and a sidecar of 10m, found {cpu:?}");
    let rejected = pods
        .create(&PostParams::default(), &sized("too-much")?)
        .await
        .err()
        .context("a pod beyond the quota was created")?;
    ensure!(rejected.to_string().contains("exceeded quota"), "{rejected}");
    Ok(())
}
