//! A cluster whose etcd is restored from a backup.

use jobwarden_common::names::reason;
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::environment::{ENDLESS, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::{Worker, finish};
use jobwarden_tests::shared_cluster::SharedCluster;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::control_plane::CONTROLLERS;
use crate::scenario::Scenario;

/// Writes between the backup and its restoration. Without them the new history would overtake the old one while the API server starts,
/// and only the comparison of objects every ten minutes would show the difference.
const WRITES: usize = 1000;

pub(crate) async fn a_job_that_a_restored_etcd_does_not_know_is_reported_deleted(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let mut scenario = Scenario::open(cluster, "restored").await?;
    let kept = scenario.start(&Worker::new("kept", 4, ENDLESS).on_node(HOME)).await?;
    scenario.environment.cluster.back_up_etcd().await?;
    scenario.start(&Worker::new("ghost", 4, ENDLESS).on_node(HOME)).await?;
    write(&scenario).await?;
    scenario.environment.cluster.restore_etcd().await?;
    scenario.notified("ghost", OutcomeKind::Lost, reason::JOB_DELETED, CONTROLLERS + SOON).await?;

    // Jobs of the new history are followed: one from before the backup, and one that the old history never had.
    finish(kept.process)?;
    scenario.succeeds("kept", CONTROLLERS).await?;
    let later = scenario.start(&Worker::new("later", 4, ENDLESS).on_node(HOME)).await?;
    finish(later.process)?;
    scenario.succeeds("later", SOON).await?;
    scenario.close().await
}

/// Writes to an object that nothing depends on.
async fn write(scenario: &Scenario<'_>) -> anyhow::Result<()> {
    let maps = Api::<ConfigMap>::namespaced(scenario.environment.client.clone(), scenario.namespace());
    let metadata = ObjectMeta { name: Some("writes".to_owned()), ..ObjectMeta::default() };
    maps.create(&PostParams::default(), &ConfigMap { metadata, ..ConfigMap::default() }).await?;
    for number in 0..WRITES {
        let patch = Patch::Merge(json!({ "data": { "number": number.to_string() } }));
        maps.patch("writes", &PatchParams::default(), &patch).await?;
    }
    Ok(())
}
