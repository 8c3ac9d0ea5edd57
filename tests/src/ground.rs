//! A cluster with jobwarden on it, and nodes that one test at a time may harm.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{label, label_value};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::{Mutex, mpsc};

use crate::cluster::{Cluster, ClusterConfig, TempNamespace};
use crate::install::{self, HOME, Settings};
use crate::job::{self, Worker};
use crate::reaper::{self, Guards};
use crate::receiver::Receiver;

/// How long anything that should happen at once may take on a busy machine.
pub const SOON: Duration = Duration::from_mins(1);

/// Work that no test waits for the end of.
pub const ENDLESS: Duration = Duration::from_hours(1);

/// How long a booted or healed node may take to be used again.
pub const RECOVERY: Duration = Duration::from_mins(3);

/// The cluster with jobwarden on it.
pub struct Ground {
    /// The cluster.
    pub cluster: Cluster,
    /// Its administrator.
    pub client: Client,
    /// Who is told.
    pub receiver: Receiver,
    /// How jobwarden was installed.
    pub settings: Settings,
    nodes: Nodes,
}

/// The nodes that tests may harm.
struct Nodes {
    give: mpsc::UnboundedSender<String>,
    take: Mutex<mpsc::UnboundedReceiver<String>>,
}

/// A node that one test has to itself. It goes back to the others when this is dropped: in good health, please.
pub struct LeasedNode {
    name: String,
    give: mpsc::UnboundedSender<String>,
}

impl Ground {
    /// Boots a cluster, with the images as `cargo xtask image` leaves them, and installs jobwarden.
    pub async fn lay(config: &ClusterConfig, settings: Settings) -> anyhow::Result<Self> {
        let cluster = Cluster::up(config).await?;
        for archive in install::images()? {
            cluster.import_image(&archive).await?;
        }
        let receiver = Receiver::start(cluster.listen(0).await?)?;
        install::install(&cluster, &settings, &receiver).await?;
        let (give, take) = mpsc::unbounded_channel();
        for node in cluster.node_names().into_iter().filter(|node| node != HOME) {
            give.send(node).context("the receiving end is right here")?;
        }
        let client = cluster.client()?;
        Ok(Self { cluster, client, receiver, settings, nodes: Nodes { give, take: Mutex::new(take) } })
    }

    /// A node for this test alone, in good health: a test that failed may not have left it so.
    pub async fn lease_node(&self) -> anyhow::Result<LeasedNode> {
        let name = self.nodes.take.lock().await.recv().await.context("nodes are always given back")?;
        let node = LeasedNode { name, give: self.nodes.give.clone() };
        self.cluster.start_node(node.name()).await?;
        self.cluster.heal(node.name()).await?;
        self.cluster.thaw_runtime(node.name()).await?;
        self.cluster.start_kubelet(node.name()).await?;
        self.cluster.wait_for_node(node.name(), true, RECOVERY).await?;
        Ok(node)
    }

    /// Waits until the leader has listened for lost-after, before which it fails nothing.
    pub async fn past_warm_up(&self) -> anyhow::Result<()> {
        let give_up = Instant::now() + self.settings.lost_after + SOON;
        loop {
            let guards = reaper::guards(&self.client).await;
            let listened = |guards: &Guards| Duration::from_secs(guards.listening_seconds) > self.settings.lost_after;
            if guards.as_ref().is_ok_and(listened) {
                return Ok(());
            }
            ensure!(Instant::now() < give_up, "no leader has listened for lost-after: {guards:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// A namespace that is enrolled and enforces Pod Security `restricted`.
    pub async fn enrolled_namespace(&self, prefix: &str) -> anyhow::Result<TempNamespace> {
        let labels = [(label::INJECT, label_value::ENABLED), ("pod-security.kubernetes.io/enforce", "restricted")];
        Ok(self.cluster.temp_namespace(prefix, &labels).await?)
    }

    /// Submits the worker's Job.
    pub async fn submit(&self, namespace: &str, worker: &Worker) -> anyhow::Result<Job> {
        let jobs = Api::<Job>::namespaced(self.client.clone(), namespace);
        jobs.create(&PostParams::default(), &worker.job())
            .await
            .with_context(|| format!("submitting {}", worker.name()))
    }

    /// Tells the pod's worker that its work is done; see [`job::finish`].
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
        // Nobody waits for a node any more once the ground is gone.
        let _ = self.give.send(std::mem::take(&mut self.name));
    }
}
