//! Namespaces with a `LimitRange` or a `ResourceQuota`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::annotation;
use jobwarden_tests::shared_cluster::SharedCluster;
use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota};
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::other_webhooks::{pod, sidecars};

pub(crate) async fn a_rejection_by_a_limit_range_names_it_and_the_remedy(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("limits").await?;
    let range: LimitRange = serde_json::from_value(json!({
        "metadata": {"name": "no-dwarfs"},
        "spec": {"limits": [{
            "type": "Container", "min": {"memory": "24Mi"}, "default": {"memory": "64Mi"}, "defaultRequest": {"memory": "64Mi"},
        }]},
    }))?;
    let ranges = Api::<LimitRange>::namespaced(environment.client.clone(), namespace.name());
    ranges.create(&PostParams::default(), &range).await.context("creating a LimitRange")?;
    let pods = Api::<Pod>::namespaced(environment.client.clone(), namespace.name());

    // Until the webhook has seen the LimitRange, the API server itself rejects the pod, without the container and the remedy.
    let rejected = async {
        loop {
            let result = pods.create(&PostParams::default(), &pod("small")?).await;
            let text = result.err().context("a pod with a sidecar below the minimum was created")?.to_string();
            if text.contains("sidecar") {
                return anyhow::Ok(text);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(30), rejected)
        .await
        .context("the webhook does not reject the pod")??;
    for part in ["no-dwarfs", "24Mi", "16Mi", annotation::SIDECAR_MEMORY, "sidecar.namespaces"] {
        ensure!(text.contains(part), "the message does not contain {part}: {text}");
    }

    let mut pod = pod("large")?;
    pod.annotations_mut().insert(annotation::SIDECAR_MEMORY.to_owned(), "24Mi".to_owned());
    let pod = pods.create(&PostParams::default(), &pod).await.context("creating a pod as the message advises")?;
    ensure!(sidecars(&pod) == ["Always"], "{:?}", pod.spec);
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
