//! Debian's RabbitMQ, as the reaper reaches it from the cluster's network.

use std::sync::Arc;

use anyhow::Context as _;
use jobwarden_testbed::progress;
use jobwarden_tests::brokers::{
    proxy::Proxy,
    rabbitmq_server::{PASSWORD, RabbitMqServer, USER},
};
use serde_json::Value;
use tokio::{net::TcpListener, task::spawn_blocking};

use super::sinks;
use crate::bench::environment::BenchEnvironment;

/// A running broker.
pub(super) struct Broker {
    server: Arc<RabbitMqServer>,
    /// What listens in the cluster's network.
    _proxy: Proxy,
    address: String,
}

impl Broker {
    /// Installs the broker if it is missing.
    pub(super) fn ensure_installed() -> anyhow::Result<()> {
        Ok(jobwarden_testbed::ensure_programs(&[("rabbitmq-server", "rabbitmq-server")])?)
    }

    pub(super) async fn start(environment: &BenchEnvironment) -> anyhow::Result<Self> {
        let _step = progress::step("starting RabbitMQ");
        let server = spawn_blocking(RabbitMqServer::start).await.context("starting RabbitMQ")?;
        let listener = environment.cluster.listen(0).await?;
        let address = listener.local_addr().context("reading the address for RabbitMQ")?.to_string();
        listener.set_nonblocking(true).context("preparing the socket for RabbitMQ")?;
        let listener = TcpListener::from_std(listener).context("preparing the socket for RabbitMQ")?;
        let proxy = Proxy::on(listener, server.port);
        Ok(Self { server: Arc::new(server), _proxy: proxy, address })
    }

    /// The sink that sends to its queue.
    pub(super) fn sink(&self, environment: &BenchEnvironment) -> anyhow::Result<Value> {
        let credentials = format!("rabbitMqUser={USER}\nrabbitMqPassword={PASSWORD}\n");
        Ok(sinks::rabbitmq(&self.address, &environment.file("rabbitmq-credentials", credentials)?))
    }

    /// How many messages are in its queue.
    pub(super) async fn messages(&self) -> anyhow::Result<usize> {
        let server = Arc::clone(&self.server);
        spawn_blocking(move || server.messages()).await.context("counting the messages of RabbitMQ")
    }
}
