//! Sinks that differ: what each receives, what becomes of what one never acknowledges, and a configuration that is changed while the
//! reaper runs.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::reason;
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::environment::{Environment, SOON};
use jobwarden_tests::install::{HOME, NAMESPACE, SINK};
use jobwarden_tests::job::Worker;
use jobwarden_tests::receiver::{Answer, Receiver};
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{reaper_config, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;

/// The exit code of the Job that fails.
const EXIT: &str = "--exit=3";

pub(crate) async fn a_sink_gets_what_its_filter_says_and_what_is_given_up_goes_to_another(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("sinks").await?;
    let (failures, broken, archive) =
        (beside(environment).await?, beside(environment).await?, beside(environment).await?);
    broken.answer(Answer::Unavailable);
    let before = reaper_config::read(&environment.client).await?;
    let sink = |name: &str, receiver: &Receiver, more: &str| {
        let url = receiver.url();
        format!("  - {{name: {name}, url: '{url}', secretFile: /etc/jobwarden/sinks/{SINK}/secret, {more}}}\n")
    };
    let only_here = format!("namespaces: [{}]", namespace.name());
    let added = [
        sink("failures", &failures, &format!("filter: {{kinds: [failed], {only_here}}}")),
        sink("broken", &broken, &format!("filter: {{{only_here}}}, giveUpAfter: 20s, deadLetterTo: archive")),
        // Nothing matches: it receives dead letters alone.
        sink("archive", &archive, "filter: {reasons: [NoSuchReason]}"),
    ];
    reaper_config::replace(&environment.client, &reaper_config::with_sinks(&before, &added)?).await?;

    let short = |name: &str| Worker::new(name, 4, Duration::from_secs(1)).on_node(HOME);
    environment.submit(namespace.name(), &short("good")).await?;
    environment.submit(namespace.name(), &short("bad").argument(EXIT)).await?;
    for job in ["good", "bad"] {
        let of = |receiver: &Receiver| receiver.about(namespace.name(), job).len();
        environment.receiver.wait_for(namespace.name(), job, SOON, |event| event.data.kind.is_final()).await?;
        let given_up = archive.wait_for(namespace.name(), job, SOON * 2, |event| event.data.kind.is_final()).await?;
        ensure!(of(&broken) == 0 && given_up.deliveries == 1, "{job}: {given_up:#?}");
        // Delivery to a sink that is broken does not keep the Job.
        wait::until_gone::<Job>(&environment.client, namespace.name(), job, SOON).await?;
    }
    failures.wait_for(namespace.name(), "bad", SOON, |event| event.data.kind == OutcomeKind::Failed).await?;
    ensure!(failures.about(namespace.name(), "good").is_empty(), "a sink for failures got a success");
    let rejected = [failures.rejected(), broken.rejected(), archive.rejected()].concat();
    ensure!(rejected.is_empty(), "{rejected:?}");

    let events = Api::<Event>::namespaced(environment.client.clone(), NAMESPACE);
    let events = events.list(&ListParams::default()).await.context("listing Events")?;
    let given_up = events.iter().filter(|event| event.reason.as_deref() == Some(reason::DELIVERY_GIVEN_UP)).count();
    ensure!(given_up >= 2, "{given_up} Events about deliveries that were given up");

    broken.answer(Answer::Acknowledge);
    let shown = environment.jobwarden(&["outcomes", "redeliver", "--all-dead", "--sink", "broken"]).await?;
    for job in ["good", "bad"] {
        let redelivered = broken.wait_for(namespace.name(), job, SOON, |event| event.data.kind.is_final()).await;
        redelivered.with_context(|| format!("after {shown}"))?;
    }
    let sinks = environment.jobwarden(&["sinks"]).await?;
    ensure!(["failures", "broken", "archive", SINK].iter().all(|name| sinks.contains(name)), "{sinks}");
    let tested = environment.jobwarden(&["sinks", "test", "archive"]).await?;
    ensure!(tested.contains("7 acknowledged"), "{tested}");
    reaper_config::replace(&environment.client, &before).await
}

/// A receiver with the secret of the one that is configured already.
async fn beside(environment: &Environment) -> anyhow::Result<Receiver> {
    environment.receiver.beside(environment.cluster.listen(0).await?)
}
