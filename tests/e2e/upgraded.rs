//! jobwarden with other values of its chart, for as long as one test needs them.

use std::time::Duration;

use anyhow::Context as _;
use jobwarden_common::names::object;
use jobwarden_tests::environment::{Environment, RECOVERY};
use jobwarden_tests::install::{self, NAMESPACE};
use jobwarden_tests::metrics;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use tokio::time::{sleep, timeout};

/// Upgrades jobwarden with these flags of `helm upgrade`, runs `test` as soon as all reapers have the new values, and rolls the upgrade back,
/// whatever came of it.
pub(crate) async fn upgraded(
    environment: &Environment,
    flags: &[String],
    test: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let tested = async {
        let chart = install::chart().display().to_string();
        let upgrade = ["upgrade", "jobwarden", &chart, "--reuse-values"].map(str::to_owned);
        helm(environment, upgrade.into_iter().chain(flags.iter().cloned())).await?;
        test().await
    };
    let tested = tested.await;
    let restored = helm(environment, ["rollback", "jobwarden"].map(str::to_owned)).await;
    tested?;
    restored
}

/// Changes the release, and waits until no reaper with the former values is left.
async fn helm(environment: &Environment, arguments: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
    let waiting = [&format!("--namespace={NAMESPACE}"), "--wait", "--timeout=3m"].map(str::to_owned);
    let arguments: Vec<String> = arguments.into_iter().chain(waiting).collect();
    environment.cluster.helm(arguments.clone()).await.with_context(|| format!("helm {arguments:?}"))?;
    let pods = Api::<Pod>::namespaced(environment.client.clone(), NAMESPACE);
    let reapers = ListParams::default().labels(&format!("app.kubernetes.io/name={}", object::REAPER_SERVICE));
    let replaced = async {
        // Those that terminate still lead until they have ended.
        while pods.list(&reapers).await?.iter().any(|pod| pod.metadata.deletion_timestamp.is_some())
            || metrics::leader(&environment.client).await.is_err()
        {
            sleep(Duration::from_millis(500)).await;
        }
        anyhow::Ok(())
    };
    timeout(RECOVERY, replaced).await.context("a reaper with the former values is left, or none leads")??;
    install::wait_until_admitting(&environment.cluster).await
}
