//! The objects that the chart creates and the webhook fills: upgrades keep their data, and one that was deleted comes back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::object;
use jobwarden_tests::environment::{Environment, SOON};
use jobwarden_tests::install::{self, HOME, NAMESPACE};
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{DeleteParams, ListParams, LogParams};
use kube::{Api, ResourceExt as _};

/// The Secrets that the webhook fills.
pub(crate) const SECRETS: [&str; 3] = [object::WEBHOOK_TLS_SECRET, object::REAPER_TLS_SECRET, object::CA_SECRET];

/// How long the webhook may take to notice: its longest backoff is 30 seconds, and it looks every minute.
const NOTICED: Duration = Duration::from_mins(2);

type Data = BTreeMap<String, ByteString>;

async fn data(environment: &Environment) -> anyhow::Result<Vec<Data>> {
    let secrets = Api::<Secret>::namespaced(environment.client.clone(), NAMESPACE);
    let mut all = Vec::new();
    for name in SECRETS {
        let secret = secrets.get(name).await.with_context(|| format!("reading {name}"))?;
        all.push(secret.data.with_context(|| format!("{name} is empty"))?);
    }
    Ok(all)
}

/// The webhook's pods, with the number of restarts of each.
async fn webhooks(environment: &Environment) -> anyhow::Result<Vec<(String, i32)>> {
    let pods = Api::<Pod>::namespaced(environment.client.clone(), NAMESPACE);
    let selector = format!("app.kubernetes.io/name={}", object::WEBHOOK_SERVICE);
    let list = pods.list(&ListParams::default().labels(&selector)).await.context("listing the webhook's pods")?;
    let restarts = |pod: &Pod| {
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        statuses.map(|status| status.restart_count).sum()
    };
    Ok(list.items.iter().map(|pod| (pod.name_any(), restarts(pod))).collect())
}

/// Waits until every replica of the webhook has logged `text`.
async fn wait_until_logged(environment: &Environment, text: &str) -> anyhow::Result<()> {
    let pods = Api::<Pod>::namespaced(environment.client.clone(), NAMESPACE);
    let give_up = Instant::now() + NOTICED;
    for (pod, _) in webhooks(environment).await? {
        while !pods.logs(&pod, &LogParams::default()).await.context("reading logs")?.contains(text) {
            ensure!(Instant::now() < give_up, "{pod} did not log {text:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    Ok(())
}

pub(crate) async fn an_upgrade_keeps_the_certificates(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let before = data(environment).await?;
    let maps = Api::<ConfigMap>::namespaced(environment.client.clone(), NAMESPACE);
    let endpoint = maps.get(object::REAPER_ENDPOINT).await?.data.context("the endpoint is not published")?;
    let namespace = format!("--namespace={NAMESPACE}");
    let chart = install::chart().display().to_string();
    let upgrade = ["upgrade", "jobwarden", &chart, &namespace, "--reuse-values", "--wait", "--timeout=3m"];
    environment.cluster.helm(upgrade).await.context("upgrading with Helm")?;
    ensure!(data(environment).await? == before, "the upgrade with Helm changed a certificate");
    // The same objects as a GitOps tool applies them: rendered, by the client.
    let manifest = environment.cluster.helm(["get", "manifest", "jobwarden", &namespace]).await?;
    let ours = |document: &&str| document.contains("kind: Secret\n") || document.contains(object::REAPER_ENDPOINT);
    let objects: Vec<&str> = manifest.split("\n---\n").filter(ours).collect();
    ensure!(objects.len() >= SECRETS.len(), "the manifest has no Secrets:\n{manifest}");
    environment.cluster.apply(&objects.join("\n---\n")).await.context("applying the manifest")?;
    ensure!(data(environment).await? == before, "kubectl apply changed a certificate");
    let now = maps.get(object::REAPER_ENDPOINT).await?.data;
    ensure!(now.as_ref() == Some(&endpoint), "the endpoint was {endpoint:?}, is {now:?}");
    Ok(())
}

pub(crate) async fn a_deleted_secret_is_named_with_its_remedy_and_filled_once_it_is_created(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let secrets = Api::<Secret>::namespaced(environment.client.clone(), NAMESPACE);
    let before = webhooks(environment).await?;
    // The authority is the last: it takes the others with it.
    for name in SECRETS {
        secrets.delete(name, &DeleteParams::default()).await.with_context(|| format!("deleting {name}"))?;
        wait_until_logged(environment, &format!("kubectl -n {NAMESPACE} create secret generic {name}")).await?;
        ensure!(secrets.get_opt(name).await?.is_none(), "{name} was created by somebody else");
        // It keeps serving the certificate that it has.
        install::wait_until_admitting(&environment.cluster).await.with_context(|| format!("without {name}"))?;
        // The command of the log.
        let namespace = format!("--namespace={NAMESPACE}");
        environment.cluster.kubectl(["create", "secret", "generic", name, &namespace]).await?;
        let filled = |secret: Option<&Secret>| {
            let data = secret.and_then(|secret| secret.data.as_ref());
            data.is_some_and(|data| data.contains_key("tls.crt") && data.contains_key("tls.key"))
        };
        wait::until(&environment.client, NAMESPACE, name, NOTICED, "filled", filled).await?;
        install::wait_until_admitting(&environment.cluster).await.with_context(|| format!("after {name}"))?;
    }
    let after = webhooks(environment).await?;
    ensure!(before == after, "the webhook restarted: {before:?}, then {after:?}");
    // Every part trusts every other again.
    let namespace = environment.enrolled_namespace("recreated").await?;
    let worker = Worker::new("beats", 4, Duration::from_secs(1)).on_node(HOME);
    environment.submit(namespace.name(), &worker).await?;
    wait::until_job(&environment.client, namespace.name(), "beats", "Complete", 2 * SOON).await.map(drop)
}
