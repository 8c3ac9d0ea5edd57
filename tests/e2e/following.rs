//! Jobs that are followed by their labels, in a namespace that is not enrolled, and what is followed by lists alone.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use jobwarden_common::names::{FINALIZER, SIDECAR_CONTAINER, label};
use jobwarden_common::notification::{CloudEvent, OutcomeKind};
use jobwarden_tests::environment::{ENDLESS, Environment, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{job_outcomes, reaper_api, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use crate::lists;
use crate::upgraded::upgraded;

/// The label that is selected, and the value that is.
const TEAM: &str = "team";
const SELECTED: &str = "batch";

/// One upgrade for both, because upgrades are slow.
pub(crate) async fn selected_and_enrolled_jobs_are_followed_by_lists_alone_and_no_others_are(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let named = environment.cluster.temp_namespace("followed", &[]).await?;
    let elsewhere = environment.cluster.temp_namespace("not-followed", &[]).await?;
    let enrolled = environment.enrolled_namespace("lists").await?;
    let mut flags = lists::FLAGS.map(str::to_owned).to_vec();
    flags.push(format!("--set=reaper.follow.namespaces={{{}}}", named.name()));
    flags.push(format!("--set=reaper.follow.selector={TEAM}={SELECTED}"));
    let both = async || {
        let selected = follow(environment, named.name(), elsewhere.name());
        tokio::try_join!(selected, lists::are_enough(environment, enrolled.name())).map(drop)
    };
    Box::pin(upgraded(environment, &flags, both)).await?;
    // It is followed no longer, so nobody would remove the finalizer when it ends.
    let released = |job: Option<&Job>| !is_held(job);
    wait::until(&environment.client, named.name(), "runs", SOON, "released", released).await.map(drop)
}

async fn follow(environment: &Environment, named: &str, elsewhere: &str) -> anyhow::Result<()> {
    let client = &environment.client;
    let worker = |name: &str, duration: Duration| Worker::new(name, 4, duration).on_node(HOME).argument("--exit=3");
    let fails = |name: &str| worker(name, Duration::from_secs(1));
    let mut without_its_pods = fails("without-its-pods").label(TEAM, SELECTED).job();
    let template = without_its_pods.spec.as_mut().and_then(|spec| spec.template.metadata.as_mut());
    template.context("a Job of tests has labels on its pods")?.labels = None;
    let others = [(named, "of-another-team"), (named, "without-its-pods"), (elsewhere, "selected")];
    environment.submit(named, &fails("of-another-team").label(TEAM, "web")).await?;
    environment.create(named, &without_its_pods).await?;
    environment.submit(elsewhere, &fails("selected").label(TEAM, SELECTED)).await?;
    environment.submit(named, &worker("runs", ENDLESS).label(TEAM, SELECTED)).await?;
    environment.submit(named, &fails("fails").label(TEAM, SELECTED)).await?;

    wait::until::<Job>(client, named, "runs", SOON, "held by the finalizer", is_held).await?;
    reaper_api::until(client, named, "runs", SOON, "reported alive by the agent", |explanation| {
        let pods = explanation["pods"].as_array();
        pods.is_some_and(|pods| pods.iter().any(|pod: &Value| pod["figures"]["agent"] == "alive"))
    })
    .await?;
    let pod = wait::until_running(client, named, "runs", &[], SOON).await?;
    verify_no_sidecar(&pod)?;

    let is_failure = |event: &CloudEvent| event.data.kind == OutcomeKind::Failed;
    environment.receiver.wait_for(named, "fails", SOON, is_failure).await?;
    wait::until_gone::<Job>(client, named, "fails", SOON).await?;
    // By now each of the others would have been labelled, reported and deleted as well: they were created before.
    for (namespace, job) in others {
        wait::until_job(client, namespace, job, "Failed", SOON).await?;
        verify_not_followed(environment, namespace, job).await?;
    }
    Ok(())
}

/// Whether jobwarden holds the Job until its outcome is recorded.
pub(crate) fn is_held(job: Option<&Job>) -> bool {
    job.is_some_and(|job| job.finalizers().iter().any(|it| it == FINALIZER))
}

/// The webhook has not seen the pod.
pub(crate) fn verify_no_sidecar(pod: &Pod) -> anyhow::Result<()> {
    let spec = pod.spec.as_ref().context("a pod has a spec")?;
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    ensure!(!containers.any(|container| container.name == SIDECAR_CONTAINER), "{spec:#?}");
    Ok(())
}

/// The Job exists, and jobwarden does not know it: there is no label, no finalizer, no outcome and no entry in the API.
pub(crate) async fn verify_not_followed(environment: &Environment, namespace: &str, job: &str) -> anyhow::Result<()> {
    let found = Api::<Job>::namespaced(environment.client.clone(), namespace).get(job).await;
    let found = found.with_context(|| format!("reading {namespace}/{job}, which is not followed"))?;
    ensure!(!found.labels().contains_key(label::ENROLLED) && !is_held(Some(&found)), "{:#?}", found.metadata);
    let outcomes = job_outcomes::about(&environment.client, namespace).await?;
    ensure!(outcomes.iter().all(|outcome| outcome.data.job_name != job), "{outcomes:#?}");
    match reaper_api::explanation(&environment.client, namespace, job).await {
        Ok(explanation) => bail!("the API knows {namespace}/{job}: {explanation:#}"),
        Err(error) => ensure!(format!("{error:#}").contains("404"), "asking for {namespace}/{job}: {error:#}"),
    }
    Ok(())
}
