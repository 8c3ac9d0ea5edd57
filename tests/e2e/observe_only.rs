//! A reaper in observe-only mode.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{FINALIZER, object, reason};
use jobwarden_common::notification::{CloudEvent, OutcomeKind};
use jobwarden_tests::environment::{ENDLESS, Environment, RECOVERY, SOON};
use jobwarden_tests::install::{self, NAMESPACE, Settings};
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{reaper_api, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use tokio::time::{sleep, timeout};

pub(crate) async fn observe_only_reports_a_loss_and_changes_no_job_or_pod(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    upgrade(environment, "reaper.observeOnly=true").await?;
    let node = environment.lease_node().await?;
    let namespace = environment.enrolled_namespace("observed").await?;
    let worker = Worker::new("observed", 8, ENDLESS).on_node(node.name());
    let job = environment.submit(namespace.name(), &worker).await?;
    ensure!(
        !job.finalizers().iter().any(|it| it == FINALIZER),
        "the Job has a finalizer that nothing would remove: {:?}",
        job.finalizers()
    );
    let pod = wait::until_running(&environment.client, namespace.name(), "observed", &[], SOON).await?;
    reaper_api::until_reported_alive(&environment.client, namespace.name(), "observed", SOON).await?;
    environment.cluster.crash(node.name()).await?;
    let suspected = |event: &CloudEvent| event.data.kind == OutcomeKind::Suspect;
    let notification = environment.receiver.wait_for(namespace.name(), "observed", SOON, suspected).await?;
    ensure!(notification.event.data.reason == reason::NODE_UNREACHABLE, "{:#?}", notification.event.data);
    // The test shows that nothing happens, so it has to let time pass.
    sleep(Settings::default().lost_after).await;
    let job = Api::<Job>::namespaced(environment.client.clone(), namespace.name()).get("observed").await?;
    ensure!(job.metadata.deletion_timestamp.is_none(), "the Job is being deleted");
    ensure!(job.status.iter().flat_map(|status| status.conditions.iter().flatten()).count() == 0, "{:?}", job.status);
    let pod = Api::<Pod>::namespaced(environment.client.clone(), namespace.name()).get(&pod.name_any()).await?;
    ensure!(pod.metadata.deletion_timestamp.is_none(), "the pod is being deleted");
    ensure!(pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running")), "{:?}", pod.status);

    environment.cluster.start_node(node.name()).await?;
    environment.cluster.wait_for_node(node.name(), true, RECOVERY).await?;
    upgrade(environment, "reaper.observeOnly=false").await
}

/// Upgrades jobwarden with one changed value of the chart.
pub(crate) async fn upgrade(environment: &Environment, value: &str) -> anyhow::Result<()> {
    let chart = install::chart().display().to_string();
    let at = format!("--namespace={NAMESPACE}");
    let set = format!("--set={value}");
    let arguments = ["upgrade", "jobwarden", &chart, &at, "--reuse-values", &set, "--wait", "--timeout=3m"];
    environment.cluster.helm(arguments).await.with_context(|| format!("upgrading with {set}"))?;
    wait_until_replaced(environment).await?;
    install::wait_until_admitting(&environment.cluster).await
}

/// Waits until every webhook pod from before the upgrade is gone: a terminating pod still answers on open connections.
async fn wait_until_replaced(environment: &Environment) -> anyhow::Result<()> {
    let pods = Api::<Pod>::namespaced(environment.client.clone(), NAMESPACE);
    let webhooks = ListParams::default().labels(&format!("app.kubernetes.io/name={}", object::WEBHOOK_SERVICE));
    let gone = async {
        while pods.list(&webhooks).await?.iter().any(|pod| pod.metadata.deletion_timestamp.is_some()) {
            sleep(Duration::from_millis(500)).await;
        }
        anyhow::Ok(())
    };
    timeout(SOON, gone).await.context("the webhook's old pods are still terminating")?
}
