//! A Job that is failed by its deadline, where the API server does not accept a condition of somebody else.

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{annotation, reason};
use jobwarden_tests::environment::{ENDLESS, RECOVERY, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use k8s_openapi::api::batch::v1::Job;
use kube::Api;

use crate::observe_only::upgrade;

pub(crate) async fn a_job_is_failed_by_its_deadline_where_that_is_configured(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    upgrade(environment, "reaper.failWith=active-deadline").await?;
    let namespace = environment.enrolled_namespace("deadline").await?;
    let worker = Worker::new("long", 4, ENDLESS).on_node(HOME).annotation(annotation::ACTIVE_TIMEOUT, "10s");
    environment.submit(namespace.name(), &worker).await?;
    wait::until_job(&environment.client, namespace.name(), "long", "Failed", RECOVERY).await?;
    let spec = Api::<Job>::namespaced(environment.client.clone(), namespace.name()).get("long").await?.spec;
    // The Job controller's own reason, by the deadline that the reaper has set.
    ensure!(spec.as_ref().and_then(|spec| spec.active_deadline_seconds) == Some(1), "{spec:?}");
    let is_final = |event: &jobwarden_common::notification::CloudEvent| event.data.kind.is_final();
    let told = environment.receiver.wait_for(namespace.name(), "long", SOON, is_final).await?;
    ensure!(told.event.data.reason == reason::DEADLINE_EXCEEDED, "{:#?}", told.event.data);
    upgrade(environment, "reaper.failWith=failure-target").await.context("restoring the default")
}
