//! RabbitMQ as `rabbitmq.ort`, the name that the documentation has.

use anyhow::Context as _;
use jobwarden_testbed::{CONTROL_PLANE, Cluster, Forwarder, ensure_programs, progress};
use serde_json::json;
use tokio::task::{block_in_place, spawn_blocking};

pub use crate::brokers::rabbitmq_server::QUEUE;
use crate::brokers::{
    ort_reader::{Accepted, Source, Until, command},
    process::output,
    rabbitmq_server::{PASSWORD, RabbitMqServer, USER},
};
use crate::install;

/// What runs beside a cluster, with the Debian packages.
const PROGRAMS: [(&str, &str); 3] =
    [("rabbitmq-server", "rabbitmq-server"), ("java", "default-jre-headless"), ("mvn", "maven")];

/// The URL of the broker for pods.
pub const URL: &str = "amqp://rabbitmq.ort:5672";

/// The key of ORT Server's file in the Secret with the credentials.
const PROPERTIES: &str = "secrets.properties";

/// Installs what is missing.
pub fn prepare() -> anyhow::Result<()> {
    Ok(ensure_programs(&PROGRAMS)?)
}

/// The broker, as pods and as programs of this machine reach it.
pub struct Broker {
    /// Absent while its process is being changed on another thread.
    server: Option<RabbitMqServer>,
    forwarder: Forwarder,
}

impl Broker {
    /// Starts RabbitMQ in the network of the cluster, behind the Service `rabbitmq` of the namespace `ort`. Installs it if it is missing.
    pub async fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        let step = progress::step("starting RabbitMQ");
        let server = block_in_place(|| {
            prepare()?;
            anyhow::Ok(RabbitMqServer::start_in(cluster))
        })?;
        drop(step);
        cluster.apply(&service(server.port)).await.context("creating the Service of RabbitMQ")?;
        let forwarder = cluster.forward((CONTROL_PLANE, server.port).into()).await?;
        Ok(Self { server: Some(server), forwarder })
    }

    /// A Secret of this name with ORT Server's file with the credentials, in jobwarden's namespace.
    pub async fn create_secret(&self, cluster: &Cluster, name: &str) -> anyhow::Result<()> {
        let properties = format!("rabbitMqUser={USER}\nrabbitMqPassword={PASSWORD}\n");
        install::create_secret(cluster, name, PROPERTIES, &properties).await
    }

    /// The queue, for a program of this machine.
    pub fn source(&self) -> Source<'static> {
        Source {
            transport: "rabbitMQ",
            uri: format!("amqp://127.0.0.1:{}", self.forwarder.port()),
            queue: QUEUE,
            user: USER,
            password: PASSWORD,
        }
    }

    /// Reads the queue to its end with ORT Server's libraries. A message that ORT Server could not read is an error.
    pub async fn read_all(&self) -> anyhow::Result<Vec<Accepted>> {
        let source = self.source();
        let read = spawn_blocking(move || output(&mut command(&source, Until::Empty)));
        let read = read.await.context("reading the queue")?;
        read.lines().map(|line| serde_json::from_str(line).with_context(|| format!("parsing {line}"))).collect()
    }

    /// Ends the broker with SIGKILL.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.change(RabbitMqServer::kill).await
    }

    /// Starts it again with the same data.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.change(RabbitMqServer::start_again).await
    }

    /// Deletes the queue.
    pub async fn delete_queue(&mut self) -> anyhow::Result<()> {
        self.change(|server| server.delete_queue()).await
    }

    /// Declares the queue that was deleted.
    pub async fn declare_queue(&mut self) -> anyhow::Result<()> {
        self.change(|server| server.declare_queue()).await
    }

    /// Lets RabbitMQ's user `guest` in, from everywhere.
    pub async fn admit_guest(&mut self) -> anyhow::Result<()> {
        self.change(|server| server.admit_guest()).await
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
