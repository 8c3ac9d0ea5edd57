//! The reaper's configuration, changed while it runs.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::object;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::time::{Duration, sleep};

use crate::environment::RECOVERY;
use crate::install::NAMESPACE;
use crate::metrics;

/// The file in the `ConfigMap`.
const FILE: &str = "reaper.yaml";

/// The text of the configuration.
pub async fn read(client: &Client) -> anyhow::Result<String> {
    let configs = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    let config = configs.get(object::REAPER_SERVICE).await.context("reading the reaper's configuration")?;
    config.data.and_then(|mut data| data.remove(FILE)).context("the reaper has no configuration")
}

/// The text with more sinks, each a line that begins with `  - `.
pub fn with_sinks(text: &str, sinks: &[String]) -> anyhow::Result<String> {
    let changed = text.replace("breaker:\n", &format!("{}breaker:\n", sinks.concat()));
    ensure!(changed != text, "the breaker does not follow the sinks: {text}");
    Ok(changed)
}

/// Replaces it, and waits until every reaper has applied it.
pub async fn replace(client: &Client, text: &str) -> anyhow::Result<()> {
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
    let selector = format!("app.kubernetes.io/name={}", object::REAPER_SERVICE);
    let mut reapers = Vec::new();
    for pod in pods.list(&ListParams::default().labels(&selector)).await.context("listing the reapers")?.items {
        let name = pod.name_any();
        reapers.push((applied(client, &name).await?, name));
    }
    ensure!(!reapers.is_empty(), "there is no reaper");

    let configs = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({ "data": { FILE: text } }));
    configs
        .patch(object::REAPER_SERVICE, &PatchParams::default(), &patch)
        .await
        .context("changing the configuration")?;
    // The kubelet updates the files of a pod when the pod changes; otherwise it takes a minute or two.
    let changed =
        Patch::Merge(json!({ "metadata": { "annotations": { "test/configuration": Timestamp::now().to_string() } } }));
    for (before, name) in reapers {
        pods.patch(&name, &PatchParams::default(), &changed).await.with_context(|| format!("annotating {name}"))?;
        let give_up = Instant::now() + RECOVERY;
        while applied(client, &name).await? <= before {
            ensure!(Instant::now() < give_up, "{name} has not applied its new configuration");
            sleep(Duration::from_millis(500)).await;
        }
    }
    Ok(())
}

/// How many changes of the configuration a reaper has applied.
async fn applied(client: &Client, pod: &str) -> anyhow::Result<f64> {
    let shown = metrics::read(client, pod).await?;
    Ok(metrics::sum(&shown, "jobwarden_config_reloads_total", "result=\"applied\""))
}
