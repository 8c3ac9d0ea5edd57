//! Debian's RabbitMQ, in the cluster's network.

use jobwarden_testbed::{CONTROL_PLANE, ensure_programs, progress};
use jobwarden_tests::brokers::rabbitmq_server::{PASSWORD, RabbitMqServer, USER};
use serde_json::Value;
use tokio::task::block_in_place;

use super::sinks;
use crate::bench::environment::BenchEnvironment;

/// A running broker.
pub(super) struct Broker(RabbitMqServer);

impl Broker {
    /// Installs the broker if it is missing.
    pub(super) fn ensure_installed() -> anyhow::Result<()> {
        Ok(ensure_programs(&[("rabbitmq-server", "rabbitmq-server")])?)
    }

    pub(super) fn start(environment: &BenchEnvironment) -> Self {
        let _step = progress::step("starting RabbitMQ");
        Self(block_in_place(|| RabbitMqServer::start_in(&environment.cluster)))
    }

    /// The sink that sends to its queue.
    pub(super) fn sink(&self, environment: &BenchEnvironment) -> anyhow::Result<Value> {
        let credentials = format!("rabbitMqUser={USER}\nrabbitMqPassword={PASSWORD}\n");
        let credentials = environment.file("rabbitmq-credentials", credentials)?;
        Ok(sinks::rabbitmq(&format!("{CONTROL_PLANE}:{}", self.0.port), &credentials))
    }

    /// How many messages are in its queue.
    pub(super) fn messages(&self) -> usize {
        block_in_place(|| self.0.messages())
    }
}
