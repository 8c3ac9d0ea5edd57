//! The sinks of the measured reaper.

use jobwarden_tests::brokers::rabbitmq_server::QUEUE;
use serde_json::{Value, json};

use super::outcomes;
use crate::bench::environment::BenchEnvironment;

/// The name of the sink that receives over HTTP.
pub(super) const HTTP: &str = "http";
/// The name of the sink that is a queue of RabbitMQ.
pub(super) const RABBITMQ: &str = "rabbitmq";
/// The name of the sink that refuses connections.
pub(super) const DEAD: &str = "dead";

/// The configuration file with these sinks.
pub(super) fn config(sinks: &[Value]) -> Value {
    json!({ "sinks": sinks })
}

/// A receiver that acknowledges everything. What it receives is signed.
pub(super) fn http(environment: &BenchEnvironment) -> anyhow::Result<Value> {
    let secret = environment.file("sink-secret", environment.receiver.secret())?;
    Ok(json!({ "name": HTTP, "url": format!("http://{}/notifications", outcomes::ADDRESS), "secretFile": secret }))
}

/// The queue of a broker at this address, in the cluster's network.
pub(super) fn rabbitmq(address: &str, credentials: &str) -> Value {
    json!({
        "name": RABBITMQ, "type": "rabbitmq", "url": format!("amqp://{address}"), "queue": QUEUE, "credentialsFile": credentials
    })
}

/// A receiver that refuses connections: nothing listens on port 1.
pub(super) fn dead() -> Value {
    json!({ "name": DEAD, "url": "http://127.0.0.1:1/" })
}
