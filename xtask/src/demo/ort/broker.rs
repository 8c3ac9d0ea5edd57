//! RabbitMQ as `rabbitmq.ort`, the name that the documentation has.

use anyhow::Context as _;
use jobwarden_testbed::{CONTROL_PLANE, Cluster, Forwarder, ensure_programs, progress};
pub(super) use jobwarden_tests::brokers::rabbitmq_server::QUEUE;
use jobwarden_tests::{
    brokers::{
        ort_reader::Source,
        rabbitmq_server::{PASSWORD, RabbitMqServer, USER},
    },
    install,
};
use serde_json::json;
use tokio::task::spawn_blocking;

/// What the demo runs beside a cluster, with the Debian packages.
const PROGRAMS: [(&str, &str); 3] =
    [("rabbitmq-server", "rabbitmq-server"), ("java", "default-jre-headless"), ("mvn", "maven")];

/// The Secret of the documentation, and ORT Server's file in it.
const SECRET: (&str, &str) = ("ort-rabbitmq", "secrets.properties");

/// Installs what is missing.
pub(super) fn prepare() -> anyhow::Result<()> {
    Ok(ensure_programs(&PROGRAMS)?)
}

/// The broker, as pods and as programs of this machine reach it.
pub(super) struct Broker {
    /// Absent while its process is being started or killed on another thread.
    server: Option<RabbitMqServer>,
    forwarder: Forwarder,
}

impl Broker {
    /// Starts RabbitMQ in the network of the cluster, behind the Service `rabbitmq` of the namespace `ort`.
    pub(super) async fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        let step = progress::step("starting RabbitMQ");
        let server = tokio::task::block_in_place(|| RabbitMqServer::start_in(cluster));
        drop(step);
        cluster.apply(&service(server.port)).await.context("creating the Service of RabbitMQ")?;
        let forwarder = cluster.forward((CONTROL_PLANE, server.port).into()).await?;
        Ok(Self { server: Some(server), forwarder })
    }

    /// The Secret with the credentials, in jobwarden's namespace.
    pub(super) async fn create_secret(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let (name, key) = SECRET;
        let properties = format!("rabbitMqUser={USER}\nrabbitMqPassword={PASSWORD}\n");
        install::create_secret(cluster, name, key, &properties).await
    }

    /// The queue, for a program of this machine.
    pub(super) fn source(&self) -> Source<'static> {
        Source {
            transport: "rabbitMQ",
            uri: format!("amqp://127.0.0.1:{}", self.forwarder.port()),
            queue: QUEUE,
            user: USER,
            password: PASSWORD,
        }
    }

    /// Ends the broker with SIGKILL.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        self.change(RabbitMqServer::kill).await
    }

    /// Starts it again with the same data.
    pub(super) async fn start_again(&mut self) -> anyhow::Result<()> {
        self.change(RabbitMqServer::start_again).await
    }

    async fn change(&mut self, change: fn(&mut RabbitMqServer)) -> anyhow::Result<()> {
        let mut server = self.server.take().context("an earlier change of the broker failed")?;
        let changed = spawn_blocking(move || {
            change(&mut server);
            server
        });
        self.server = Some(changed.await.context("changing the broker")?);
        Ok(())
    }
}

/// A Service whose one endpoint is outside of the cluster's pods.
fn service(port: u16) -> String {
    let metadata =
        json!({"name": "rabbitmq", "namespace": "ort", "labels": {"kubernetes.io/service-name": "rabbitmq"}});
    json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ort"}},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {"ports": [{"name": "amqp", "port": 5672, "targetPort": port}]}
            },
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": metadata,
                "addressType": "IPv4",
                "endpoints": [{"addresses": [CONTROL_PLANE.to_string()], "conditions": {"ready": true}}],
                "ports": [{"name": "amqp", "port": port}]
            }
        ]
    })
    .to_string()
}
