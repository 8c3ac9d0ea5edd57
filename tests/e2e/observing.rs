//! A reaper that only observes.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{FINALIZER, object, reason};
use jobwarden_common::notification::{CloudEvent, OutcomeKind};
use jobwarden_tests::bed::Bed;
use jobwarden_tests::ground::{ENDLESS, Ground, RECOVERY, SOON};
use jobwarden_tests::install::{self, NAMESPACE, Settings};
use jobwarden_tests::job::Worker;
use jobwarden_tests::{reaper, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use tokio::time::{sleep, timeout};

use crate::Outcome;

pub(crate) async fn who_only_observes_tells_of_a_loss_and_writes_to_no_job_or_pod(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    only_observe(ground, true).await?;
    let node = ground.lease_node().await?;
    let namespace = ground.enrolled_namespace("observed").await?;
    let worker = Worker::new("observed", 8, ENDLESS).on_node(node.name());
    let job = ground.submit(namespace.name(), &worker).await?;
    ensure!(!job.finalizers().iter().any(|it| it == FINALIZER), "nobody would release it: {:?}", job.finalizers());
    let pod = wait::until_running(&ground.client, namespace.name(), "observed", &[], SOON).await?;
    reaper::until_heard(&ground.client, namespace.name(), "observed", SOON).await?;
    ground.cluster.crash(node.name()).await?;
    let suspected = |event: &CloudEvent| event.data.kind == OutcomeKind::Suspect;
    let told = ground.receiver.wait_for(namespace.name(), "observed", SOON, suspected).await?;
    ensure!(told.event.data.reason == reason::NODE_UNREACHABLE, "{:#?}", told.event.data);
    // What is shown is that nothing happens, so time has to pass.
    sleep(Settings::default().lost_after).await;
    let job = Api::<Job>::namespaced(ground.client.clone(), namespace.name()).get("observed").await?;
    ensure!(job.metadata.deletion_timestamp.is_none(), "the Job is being deleted");
    ensure!(job.status.iter().flat_map(|status| status.conditions.iter().flatten()).count() == 0, "{:?}", job.status);
    let pod = Api::<Pod>::namespaced(ground.client.clone(), namespace.name()).get(&pod.name_any()).await?;
    ensure!(pod.metadata.deletion_timestamp.is_none(), "the pod is being deleted");
    ensure!(pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running")), "{:?}", pod.status);

    ground.cluster.start_node(node.name()).await?;
    ground.cluster.wait_for_node(node.name(), true, RECOVERY).await?;
    only_observe(ground, false).await
}

async fn only_observe(ground: &Ground, whether: bool) -> Outcome {
    let chart = install::chart().display().to_string();
    let at = format!("--namespace={NAMESPACE}");
    let set = format!("--set=reaper.observeOnly={whether}");
    let arguments = ["upgrade", "jobwarden", &chart, &at, "--reuse-values", &set, "--wait", "--timeout=3m"];
    ground.cluster.helm(arguments).await.with_context(|| format!("upgrading with {set}"))?;
    until_replaced(ground).await?;
    install::wait_until_admitting(&ground.cluster).await
}

/// Waits until no pod of the webhook from before the upgrade is left: one that is ending still answers whom it knows.
async fn until_replaced(ground: &Ground) -> Outcome {
    let pods = Api::<Pod>::namespaced(ground.client.clone(), NAMESPACE);
    let webhooks = ListParams::default().labels(&format!("app.kubernetes.io/name={}", object::WEBHOOK_SERVICE));
    let gone = async {
        while pods.list(&webhooks).await?.iter().any(|pod| pod.metadata.deletion_timestamp.is_some()) {
            sleep(Duration::from_millis(500)).await;
        }
        anyhow::Ok(())
    };
    timeout(SOON, gone).await.context("the webhook's old pods do not end")?
}
