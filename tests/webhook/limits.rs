//! Namespaces that set bounds to what containers may have.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::annotation;
use k8s_openapi::api::core::v1::{LimitRange, Pod};
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::Outcome;
use crate::bed::Bed;
use crate::reinvocation::{pod, sidecars};

pub(crate) async fn a_limit_range_that_refuses_the_sidecar_is_named_with_the_way_out(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("limits").await?;
    let range: LimitRange = serde_json::from_value(json!({
        "metadata": {"name": "no-dwarfs"},
        "spec": {"limits": [{
            "type": "Container", "min": {"memory": "24Mi"}, "default": {"memory": "64Mi"}, "defaultRequest": {"memory": "64Mi"},
        }]},
    }))?;
    let ranges = Api::<LimitRange>::namespaced(ground.client.clone(), namespace.name());
    ranges.create(&PostParams::default(), &range).await.context("creating a LimitRange")?;
    let pods = Api::<Pod>::namespaced(ground.client.clone(), namespace.name());

    // Until the webhook has heard of it, the API server itself refuses, by a text that names neither container nor way out.
    let told = async {
        loop {
            let refused = pods.create(&PostParams::default(), &pod("small")?).await;
            let text = refused.err().context("a sidecar below the minimum was let past")?.to_string();
            if text.contains("sidecar") {
                return anyhow::Ok(text);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(30), told).await.context("the webhook never tells")??;
    for part in ["no-dwarfs", "24Mi", "16Mi", annotation::SIDECAR_MEMORY, "sidecar.namespaces"] {
        ensure!(text.contains(part), "nothing is said of {part}: {text}");
    }

    let mut pod = pod("large")?;
    pod.annotations_mut().insert(annotation::SIDECAR_MEMORY.to_owned(), "24Mi".to_owned());
    let pod = pods.create(&PostParams::default(), &pod).await.context("creating a pod as the text says")?;
    ensure!(sidecars(&pod) == ["Always"], "{:?}", pod.spec);
    Ok(())
}
