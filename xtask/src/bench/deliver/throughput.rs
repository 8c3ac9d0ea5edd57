//! How fast a backlog is delivered: outcomes that were recorded while no reaper ran.

use std::collections::BTreeMap;

use anyhow::ensure;
use jobwarden_testbed::progress;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    broker::Broker,
    harness::{Bench, POLL, TIMEOUT, until},
    sinks,
};

/// The metric of delivery attempts.
const DELIVERIES: &str = "jobwarden_deliveries_total";
/// The metric of outcomes that a sink has not acknowledged yet.
pub(super) const PENDING: &str = "jobwarden_outcomes_pending";

pub(super) async fn measure(bench: &mut Bench, backlog: usize) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    let writes = {
        let step = progress::step(format!("writing {backlog} statuses without any delivery"));
        let writes = bench.outcomes.write(backlog)?;
        step.detail(format!("{writes:.0} a second"));
        writes
    };
    bench.outcomes.clear()?;
    let http = sinks::http(&bench.environment)?;
    let over_http = per_s(bench, sinks::HTTP, &http, backlog).await?;

    let broker = Broker::start(&bench.environment);
    let over_rabbitmq = per_s(bench, sinks::RABBITMQ, &broker.sink(&bench.environment)?, backlog).await?;
    let messages = broker.messages();
    ensure!(messages >= backlog, "RabbitMQ has {messages} messages of {backlog}");
    Ok(BTreeMap::from([
        ("api_server_status_writes_per_s", writes),
        ("notifications_per_s_http", over_http),
        ("notifications_per_s_rabbitmq", over_rabbitmq),
    ]))
}

/// How many notifications of a backlog a second are acknowledged, and their outcomes marked so. The time from the start of the reaper until
/// the first one is acknowledged does not count.
async fn per_s(bench: &mut Bench, name: &str, sink: &Value, backlog: usize) -> anyhow::Result<f64> {
    let step = progress::step(format!("a backlog of {backlog} notifications to the sink {name}"));
    bench.outcomes.record(backlog, name)?;
    let server = bench.reaper(std::slice::from_ref(sink)).await?;
    let labels = format!("sink=\"{name}\",result=\"acknowledged\"");
    let give_up = Instant::now() + TIMEOUT;
    let mut begun = None;
    let per_s = loop {
        let now = Instant::now();
        let acknowledged = server.metric(DELIVERIES, &labels).await?;
        match begun {
            None if acknowledged > 0.0 => begun = Some((now, acknowledged)),
            Some((at, before)) if acknowledged >= backlog as f64 => {
                until(&server, "has written every status", PENDING, &labels_of(name), |pending| pending <= 0.0).await?;
                break (backlog as f64 - before) / at.elapsed().as_secs_f64();
            }
            _ => {}
        }
        ensure!(now < give_up, "{acknowledged} of {backlog} are acknowledged after {TIMEOUT:?}");
        sleep(POLL).await;
    };
    step.detail(format!("{per_s:.0} a second"));
    let acknowledged = bench.outcomes.acknowledged(name)?;
    ensure!(acknowledged == backlog, "{acknowledged} of {backlog} outcomes are marked as acknowledged");
    bench.clear(server).await?;
    Ok(per_s)
}

/// The labels of the metrics of a sink.
pub(super) fn labels_of(sink: &str) -> String {
    format!("sink=\"{sink}\"")
}
