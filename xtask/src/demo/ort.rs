//! The demo with ORT Server's side: its workers, a real RabbitMQ, and a program that reads the queue with ORT Server's own libraries.
//!
//! ```text
//!  workers (Kubernetes) ──► jobwarden ──► RabbitMQ, which is killed in between ──► orchestrator (JVM)
//! ```

mod acts;
mod orchestrator;
mod setting;
mod stage;

use std::collections::BTreeSet;

use anyhow::Context as _;
use jobwarden_testbed::{Cluster, tear_down_on_signals};
use jobwarden_tests::{
    brokers::ort_reader::Accepted,
    documentation::{self, ORT_SERVER},
    install::{self, Settings},
    ort_server::{
        broker::{self, Broker},
        worker::{RUN_ID, TRACE_ID},
    },
};
use serde::Serialize;

use self::{
    orchestrator::{Message, Orchestrator},
    setting::{NAMESPACE, SECRET, SUCCEEDS},
    stage::Stage,
};
use super::{
    crash::{self, LOST_AFTER},
    output::{check, heading, line},
};

/// The line of JSON.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    accepted: usize,
    duplicates: usize,
    refused: usize,
    lost_after_s: f64,
    detected_after_s: f64,
    pub(super) passed: bool,
}

pub(super) async fn run(keep: bool) -> anyhow::Result<Summary> {
    tear_down_on_signals();
    line("jobwarden demo: what ORT Server's orchestrator receives about workers that fail, through its queue.");
    tokio::task::spawn_blocking(broker::prepare).await.context("installing RabbitMQ and Java")??;
    let cluster = crash::boot().await?;
    let summary = show(&cluster).await;
    crash::end(cluster, keep).await?;
    summary
}

async fn show(cluster: &Cluster) -> anyhow::Result<Summary> {
    let broker = Broker::start(cluster).await?;
    broker.create_secret(cluster, SECRET).await?;
    let settings = Settings { lost_after: LOST_AFTER, ..Settings::default() };
    install::install_with(cluster, &settings, &documentation::yaml(ORT_SERVER, "")?).await?;
    cluster.kubectl(["create", "namespace", NAMESPACE]).await?;
    cluster.kubectl(["label", "namespace", NAMESPACE, "jobwarden.io/inject=enabled"]).await?;
    let orchestrator = Orchestrator::start(&broker).await?;
    let mut stage = Stage { cluster, client: cluster.client()?, broker, orchestrator };
    heading("The setting");
    line(format!("  jobwarden is installed with the values of {ORT_SERVER}."));
    line(format!("  RabbitMQ has the queue {}; the orchestrator reads it with kotlinx-serialization.", broker::QUEUE));
    line(format!(
        "  ORT Server's run {RUN_ID} has trace ID {TRACE_ID}; its workers are Jobs in namespace {NAMESPACE}."
    ));
    let mut passed = acts::a_worker_succeeds(&stage).await?;
    passed &= acts::a_worker_fails(&stage).await?;
    passed &= acts::a_worker_runs_out_of_memory_while_the_broker_is_down(&mut stage).await?;
    let (reported, detected) = acts::the_node_of_a_worker_crashes(&stage).await?;
    passed &= reported;
    let mut summary = verify(&stage.orchestrator.messages());
    summary.passed &= passed;
    summary.lost_after_s = LOST_AFTER.as_secs_f64();
    summary.detected_after_s = detected.as_secs_f64();
    Ok(summary)
}

/// What the orchestrator has received in all.
fn verify(messages: &[Message]) -> Summary {
    heading("Checks");
    let accepted: Vec<&Accepted> = messages.iter().filter_map(Message::accepted).collect();
    let ids: BTreeSet<&str> = accepted.iter().map(|it| it.id.as_str()).collect();
    let duplicates = accepted.len() - ids.len();
    let refused: Vec<_> = messages.iter().filter_map(Message::refused).collect();
    let is_of_run = |it: &&Accepted| it.run_id.to_string() == RUN_ID && it.trace_id == TRACE_ID;
    let is_about_success = |it: &&Accepted| it.message.to_lowercase().contains(SUCCEEDS);
    let checks = [
        check(ids.len() == 3, format!("of four workers three did not succeed: {} messages are accepted", ids.len())),
        check(refused.is_empty(), format!("none is refused {refused:?}")),
        check(accepted.iter().all(is_of_run), "every message has the run ID and the trace ID"),
        check(accepted.iter().all(|it| it.persistent), "every message survives a restart of the broker"),
        check(!accepted.iter().any(is_about_success), "none is about the worker that succeeded"),
    ];
    line(format!("    messages that arrived once more: {duplicates}"));
    let passed = checks.into_iter().all(|passed| passed);
    Summary { accepted: ids.len(), duplicates, refused: refused.len(), passed, ..Summary::default() }
}
