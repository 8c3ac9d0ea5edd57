//! A cluster with jobwarden installed, and nodes that one test at a time may damage.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use jobwarden_common::names::{label, label_value};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::install::{self, HOME, Settings};
use crate::job::{self, Worker};
use crate::reaper_api::{self, Guards};
use crate::receiver::Receiver;
use jobwarden_testbed::{Cluster, ClusterConfig, TempNamespace};

/// How long something that should happen immediately may take on a busy machine.
pub const SOON: Duration = Duration::from_mins(1);

/// The duration of work whose end no test waits for.
pub const ENDLESS: Duration = Duration::from_hours(1);

/// How long a booted or healed node may take to become usable again.
pub const RECOVERY: Duration = Duration::from_mins(3);

/// How many nodes tests may damage at the same time: the breaker holds the losses of three that fall silent together.
const DAMAGED_AT_ONCE: u32 = 2;

/// A cluster with jobwarden installed.
pub struct Environment {
    /// The cluster.
    pub cluster: Cluster,
    /// A client with the rights of its administrator.
    pub client: Client,
    /// The receiver of notifications.
    pub receiver: Receiver,
    /// How jobwarden was installed.
    pub settings: Settings,
    nodes: Nodes,
}

/// The nodes that tests may damage, as a queue.
struct Nodes {
    give: mpsc::UnboundedSender<String>,
    take: Mutex<mpsc::UnboundedReceiver<String>>,
    permits: Arc<Semaphore>,
}

/// A node that one test has for itself. Dropping this returns it; the test should repair the node before.
pub struct LeasedNode {
    name: String,
    give: mpsc::UnboundedSender<String>,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Environment {
    /// Boots a cluster, imports the images of `cargo xtask image`, and installs jobwarden.
    pub async fn start(config: &ClusterConfig, settings: Settings) -> anyhow::Result<Self> {
        let cluster = Cluster::up(config).await?;
        for archive in install::images()? {
            cluster.import_image(&archive).await?;
        }
        let receiver = Receiver::start(cluster.listen(0).await?)?;
        install::install(&cluster, &settings, &receiver).await?;
        let (give, take) = mpsc::unbounded_channel();
        for node in cluster.node_names().into_iter().filter(|node| node != HOME) {
            give.send(node).context("the queue of nodes is closed")?;
        }
        let client = cluster.client()?;
        let permits = Arc::new(Semaphore::new(DAMAGED_AT_ONCE as usize));
        Ok(Self { cluster, client, receiver, settings, nodes: Nodes { give, take: Mutex::new(take), permits } })
    }

    /// Waits for a node and repairs it, because a failed test may have left it damaged.
    pub async fn lease_node(&self) -> anyhow::Result<LeasedNode> {
        self.lease(Arc::new(Arc::clone(&self.nodes.permits).acquire_owned().await?)).await
    }

    /// The same for so many nodes, while no other test has any.
    pub async fn lease_nodes(&self, count: usize) -> anyhow::Result<Vec<LeasedNode>> {
        let permit = Arc::new(Arc::clone(&self.nodes.permits).acquire_many_owned(DAMAGED_AT_ONCE).await?);
        try_join_all((0..count).map(|_| self.lease(Arc::clone(&permit)))).await
    }

    async fn lease(&self, permit: Arc<OwnedSemaphorePermit>) -> anyhow::Result<LeasedNode> {
        let name = self.nodes.take.lock().await.recv().await.context("the queue of nodes is closed")?;
        let node = LeasedNode { name, give: self.nodes.give.clone(), _permit: permit };
        self.cluster.start_node(node.name()).await?;
        self.cluster.heal(node.name()).await?;
        self.cluster.thaw_runtime(node.name()).await?;
        self.cluster.start_kubelet(node.name()).await?;
        self.cluster.wait_for_node(node.name(), true, RECOVERY).await?;
        Ok(node)
    }

    /// Waits until the leader has received signals for lost-after. It fails no Job before.
    pub async fn wait_for_warm_up(&self) -> anyhow::Result<()> {
        let give_up = Instant::now() + self.settings.lost_after + SOON;
        loop {
            let guards = reaper_api::guards(&self.client).await;
            let warm = |guards: &Guards| Duration::from_secs(guards.listening_seconds) > self.settings.lost_after;
            if guards.as_ref().is_ok_and(warm) {
                return Ok(());
            }
            ensure!(Instant::now() < give_up, "no leader has received signals for lost-after: {guards:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// A namespace that is enrolled in jobwarden and enforces Pod Security `restricted`.
    pub async fn enrolled_namespace(&self, prefix: &str) -> anyhow::Result<TempNamespace> {
        let labels = [(label::INJECT, label_value::ENABLED), ("pod-security.kubernetes.io/enforce", "restricted")];
        Ok(self.cluster.temp_namespace(prefix, &labels).await?)
    }

    /// Creates the worker's Job.
    pub async fn submit(&self, namespace: &str, worker: &Worker) -> anyhow::Result<Job> {
        self.create(namespace, &worker.job()).await
    }

    /// Creates a Job.
    pub async fn create(&self, namespace: &str, job: &Job) -> anyhow::Result<Job> {
        let jobs = Api::<Job>::namespaced(self.client.clone(), namespace);
        let created = jobs.create(&PostParams::default(), job).await;
        created.with_context(|| format!("creating Job {namespace}/{}", job.name_any()))
    }

    /// Runs the program `jobwarden` with the rights of the administrator, and returns what it prints.
    pub async fn jobwarden(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.cluster.program(install::program("jobwarden")?);
        command.args(arguments);
        let output = tokio::process::Command::from(command).output().await.context("running the program")?;
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{arguments:?}: {}: {out}{error}", output.status);
        Ok(out.into_owned())
    }

    /// Ends the work of the pod's worker; see [`job::finish`].
    pub async fn finish(&self, namespace: &str, pod: &Pod) -> anyhow::Result<()> {
        job::finish(self.cluster.process_of(namespace, &pod.name_any(), "worker").await?)
    }
}

impl LeasedNode {
    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for LeasedNode {
    fn drop(&mut self) {
        // An error means that the environment is gone, and with it every test that could wait for the node.
        let _ = self.give.send(std::mem::take(&mut self.name));
    }
}
