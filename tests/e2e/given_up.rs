//! Outcomes that cannot be sent to a broker: what becomes of them, who sees it, and how they are delivered in the end.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jobwarden_common::names::reason;
use jobwarden_common::notification::CloudEvent;
use jobwarden_tests::environment::{ENDLESS, Environment, SOON};
use jobwarden_tests::install::{HOME, NAMESPACE};
use jobwarden_tests::job_outcomes::{self, Recorded};
use jobwarden_tests::ort_server::broker::{Broker, QUEUE, URL};
use jobwarden_tests::ort_server::worker::OrtWorker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{reaper_config, wait};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use crate::following::is_held;

/// The sink. It has no credentials, so it logs in as RabbitMQ's user `guest`.
const SINK: &str = "ort";
/// What is said of a queue that does not exist, and of a Job without a run ID (docs/sinks.md, docs/orchestrators/ort-server.md).
const NO_QUEUE: &str = "does not exist";
const NO_RUN: &str = "MissingRunId";

pub(crate) async fn what_a_broker_never_got_is_shown_and_redelivered_once_its_queue_exists(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("given-up").await?;
    let mut broker = Broker::start(&environment.cluster).await?;
    broker.admit_guest().await?;
    broker.delete_queue().await?;
    let before = reaper_config::read(&environment.client).await?;
    let filter = format!("filter: {{namespaces: [{}]}}", namespace.name());
    let sink = format!(
        "  - {{name: {SINK}, type: rabbitmq, url: '{URL}', queue: {QUEUE}, format: ort-server, giveUpAfter: 30s, {filter}}}\n"
    );
    let result = async {
        reaper_config::replace(&environment.client, &reaper_config::with_sinks(&before, &[sink])?).await?;
        Box::pin(give_up(environment, namespace.name(), &mut broker)).await
    };
    let result = result.await;
    // Later tests expect the usual sinks, whatever came of this one.
    let restored = reaper_config::replace(&environment.client, &before).await;
    result?;
    restored.context("restoring the sinks of the other tests")
}

async fn give_up(environment: &Environment, namespace: &str, broker: &mut Broker) -> anyhow::Result<()> {
    let client = &environment.client;
    let at_home = |worker: OrtWorker| worker.with(|worker| worker.on_node(HOME)).job();
    let fails = |worker: OrtWorker| at_home(worker.with(|worker| worker.argument("--exit=1")));
    let second = Duration::from_secs(1);
    let bystander = environment.create(namespace, &at_home(OrtWorker::new("evaluator", 31, 4, ENDLESS))).await?;
    let running = wait::until_running(client, namespace, &bystander.name_any(), &[], SOON).await?;
    let no_run = environment.create(namespace, &fails(OrtWorker::without_run("advisor", 32, 4, second))).await?;
    let no_queue = environment.create(namespace, &fails(OrtWorker::new("scanner", 33, 4, second))).await?;

    // The Job is held until its outcome is recorded, and not until it is delivered.
    let uid = |job: &Job| job.uid().context("a Job has a UID");
    let (no_run_uid, no_queue_uid) = (uid(&no_run)?, uid(&no_queue)?);
    let attempted = |outcome: &Recorded| outcome.delivery(SINK) == "pending" && !outcome.error(SINK).is_empty();
    let pending = job_outcomes::until_final(client, &no_queue_uid, SOON * 2, "attempted", attempted).await?;
    ensure!(pending.error(SINK).contains(NO_QUEUE), "{pending:#?}");
    let released = |job: Option<&Job>| !is_held(job);
    wait::until(client, namespace, &no_queue.name_any(), SOON, "released", released).await?;
    let now = job_outcomes::until_final(client, &no_queue_uid, SOON, "recorded", |_| true).await?;
    ensure!(now.delivery(SINK) == "pending", "the Job was held until its delivery had ended: {now:#?}");

    let given_up = [(&no_queue_uid, NO_QUEUE), (&no_run_uid, NO_RUN)];
    for (uid, why) in given_up {
        let dead = job_outcomes::until_final(client, uid, SOON, "dead", is_dead).await?;
        ensure!(dead.error(SINK).contains(why), "{dead:#?}");
    }
    for job in [&no_run, &no_queue] {
        // No other sink has waited for this one, and the Job is cleaned up.
        let is_final = |event: &CloudEvent| event.data.kind.is_final();
        environment.receiver.wait_for(namespace, &job.name_any(), SOON, is_final).await?;
        wait::until_gone::<Job>(client, namespace, &job.name_any(), SOON).await?;
    }
    let (no_run, no_queue) = (job_outcomes::final_name(&no_run_uid), job_outcomes::final_name(&no_queue_uid));
    verify_shown(environment, &[&no_run, &no_queue]).await?;

    broker.declare_queue().await?;
    let redelivered = environment.jobwarden(&["outcomes", "redeliver", "--all-dead", "--sink", SINK]).await?;
    let is_delivered = |outcome: &Recorded| outcome.delivery(SINK) == "acknowledged";
    let delivered = job_outcomes::until_final(client, &no_queue_uid, SOON * 2, "acknowledged", is_delivered).await;
    delivered.with_context(|| format!("after {redelivered}"))?;
    let read = broker.read_all().await?;
    let is_expected =
        read.len() == 1 && read[0].id == no_queue && read[0].message.starts_with("ScannerWorkerError(jobId=33,");
    ensure!(is_expected, "{read:#?}");
    // What has no run ID can never be sent.
    job_outcomes::until_final(client, &no_run_uid, SOON, "dead again", is_dead).await?;
    let dead = dead(environment).await?;
    ensure!(dead.contains(&no_run) && !dead.contains(&no_queue), "{dead}");

    let outcomes = job_outcomes::about(client, namespace).await?;
    ensure!(outcomes.iter().all(|outcome| outcome.data.job_name != bystander.name_any()), "{outcomes:#?}");
    let jobs = Api::<Job>::namespaced(client.clone(), namespace);
    ensure!(is_held(Some(&jobs.get(&bystander.name_any()).await?)), "the Job that still runs was released");
    let worker = environment.cluster.process_of(namespace, &running.name_any(), "main").await?;
    ensure!(worker.is_alive(), "the worker of the Job that still runs has ended");
    Ok(())
}

fn is_dead(outcome: &Recorded) -> bool {
    outcome.delivery(SINK) == "dead"
}

/// What `jobwarden outcomes` shows of deliveries to the sink that were given up.
async fn dead(environment: &Environment) -> anyhow::Result<String> {
    environment.jobwarden(&["outcomes", "list", "-A", "--state", "dead", "--sink", SINK]).await
}

/// An operator finds these outcomes in the list of `jobwarden outcomes`, and an Event about each.
async fn verify_shown(environment: &Environment, names: &[&str]) -> anyhow::Result<()> {
    let shown = dead(environment).await?;
    let events = Api::<Event>::namespaced(environment.client.clone(), NAMESPACE);
    let events = events.list(&ListParams::default()).await.context("listing Events")?;
    for name in names {
        let line = shown.lines().find(|line| line.starts_with(name));
        ensure!(line.is_some_and(|line| line.contains(&format!("{SINK} dead"))), "{name} is not listed: {shown}");
        let is_about = |event: &&Event| {
            let regarding = event.regarding.iter().find(|it| it.kind.as_deref() == Some("JobOutcome"));
            event.reason.as_deref() == Some(reason::DELIVERY_GIVEN_UP)
                && regarding.is_some_and(|it| it.name.as_deref() == Some(name))
        };
        ensure!(events.iter().any(|event| is_about(&event)), "no Event says that {name} was given up");
    }
    Ok(())
}
