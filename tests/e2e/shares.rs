//! A namespace that has more outcomes than its share: nothing is lost, and nobody else waits.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{FINALIZER, object, reason};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::environment::{ENDLESS, RECOVERY, SOON};
use jobwarden_tests::install::{HOME, NAMESPACE};
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::wait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

/// The Jobs that one tenant makes and deletes.
const FLOOD: usize = 150;
/// Its share.
const SHARE: usize = 20;
/// The file of the reaper's configuration.
const FILE: &str = "reaper.yaml";

pub(crate) async fn a_flood_of_one_namespace_is_coalesced_and_delays_no_other(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let (flood, bystander) =
        (environment.enrolled_namespace("flood").await?, environment.enrolled_namespace("bystander").await?);
    environment.submit(bystander.name(), &Worker::new("quiet", 4, ENDLESS).on_node(HOME)).await?;
    wait::until_running(&environment.client, bystander.name(), "quiet", &[], SOON).await?;

    let configs = Api::<ConfigMap>::namespaced(environment.client.clone(), NAMESPACE);
    let before = configs.get(object::REAPER_SERVICE).await?.data.and_then(|mut data| data.remove(FILE));
    let before = before.context("the reaper has no configuration")?;
    let unlimited = "namespaces: {}\n    perHour";
    ensure!(before.contains(unlimited), "{before}");
    let limited = before.replace(unlimited, &format!("namespaces: {{{}: {SHARE}}}\n    perHour", flood.name()));
    let write = async |text: &str| {
        let patch = Patch::Merge(json!({ "data": { FILE: text } }));
        configs.patch(object::REAPER_SERVICE, &PatchParams::default(), &patch).await.map(drop)
    };
    write(&limited).await?;
    // The kubelet updates the files of a ConfigMap every minute or so.
    tokio::time::sleep(Duration::from_mins(2)).await;

    let jobs = Api::<Job>::namespaced(environment.client.clone(), flood.name());
    for number in 0..FLOOD {
        let name = format!("flood-{number}");
        environment.submit(flood.name(), &Worker::new(&name, 1, ENDLESS).suspended()).await?;
        jobs.delete(&name, &DeleteParams::background()).await?;
    }
    // In the middle of it, the bystander's Job is deleted.
    let deleted = Instant::now();
    let others = Api::<Job>::namespaced(environment.client.clone(), bystander.name());
    others.delete("quiet", &DeleteParams::background()).await?;
    let is_final = |event: &jobwarden_common::notification::CloudEvent| event.data.kind.is_final();
    environment.receiver.wait_for(bystander.name(), "quiet", SOON, is_final).await?;
    let took = deleted.elapsed();

    // Every Job of the flood goes: each finalizer is released, once its outcome is counted.
    let give_up = Instant::now() + RECOVERY;
    while !jobs.list(&ListParams::default()).await?.items.is_empty() {
        ensure!(Instant::now() < give_up, "Jobs of the flood still carry {FINALIZER}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let of_flood = |kind: OutcomeKind| {
        environment.receiver.picked(|received| {
            let data = &received.event.data;
            (data.namespace == flood.name()
                && (data.kind == OutcomeKind::Coalesced) == (kind == OutcomeKind::Coalesced))
                .then(|| data.clone())
        })
    };
    let give_up = Instant::now() + SOON;
    let counted =
        || of_flood(OutcomeKind::Coalesced).iter().flat_map(|it| &it.coalesced).map(|it| it.count).sum::<usize>();
    while counted() + of_flood(OutcomeKind::Lost).len() < FLOOD {
        ensure!(Instant::now() < give_up, "{} coalesced and {} alone", counted(), of_flood(OutcomeKind::Lost).len());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let alone = of_flood(OutcomeKind::Lost).len();
    // As many Jobs as are evaluated at once may pass before the share counts them.
    ensure!(alone <= SHARE + 16, "{alone} outcomes were recorded alone");
    ensure!(of_flood(OutcomeKind::Coalesced).len() <= 5, "{:?}", of_flood(OutcomeKind::Coalesced));
    let events =
        Api::<Event>::namespaced(environment.client.clone(), flood.name()).list(&ListParams::default()).await?;
    let told = events.items.iter().filter(|event| event.reason.as_deref() == Some(reason::OUTCOMES_COALESCED)).count();
    ensure!(told >= FLOOD - alone, "{told} Events for {} coalesced outcomes", FLOOD - alone);
    write(&before).await?;
    ensure!(took <= Duration::from_secs(5), "the bystander's outcome took {took:?}");
    Ok(())
}
