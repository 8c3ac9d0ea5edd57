//! What all tests stand on: the cluster with jobwarden on it, nodes to harm, namespaces to work in.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jobwarden_common::names::{label, label_value};
use jobwarden_tests::cluster::{Cluster, ClusterConfig, TempNamespace};
use jobwarden_tests::install::{self, HOME, Settings};
use jobwarden_tests::job::Worker;
use jobwarden_tests::receiver::Receiver;
use k8s_openapi::api::batch::v1::Job;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell, mpsc};

/// How long anything that should happen at once may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// Everything a test needs.
pub(crate) struct Bed {
    runtime: Arc<Runtime>,
    ground: OnceCell<Ground>,
}

/// The cluster with jobwarden on it.
pub(crate) struct Ground {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) receiver: Receiver,
    nodes: Nodes,
}

/// The nodes that tests may harm.
struct Nodes {
    give: mpsc::UnboundedSender<String>,
    take: Mutex<mpsc::UnboundedReceiver<String>>,
}

/// A node that one test has to itself. It goes back to the others when this is dropped: in good health, please.
pub(crate) struct LeasedNode {
    name: String,
    give: mpsc::UnboundedSender<String>,
}

impl Bed {
    pub(crate) fn new(runtime: Arc<Runtime>) -> Self {
        Self { runtime, ground: OnceCell::new() }
    }

    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The cluster with jobwarden on it; the first test that asks boots it.
    pub(crate) async fn ground(&self) -> anyhow::Result<&Ground> {
        self.ground.get_or_try_init(Ground::lay).await
    }

    /// Tears the cluster down, if there ever was one. `JOBWARDEN_KEEP_CLUSTER` leaves it to look at.
    pub(crate) async fn end(&self) -> anyhow::Result<()> {
        let Some(ground) = self.ground.get() else { return Ok(()) };
        if env::var_os("JOBWARDEN_KEEP_CLUSTER").is_some() {
            // Without unwinding: what is not dropped is not torn down.
            std::process::exit(1);
        }
        Cluster::attach(ground.cluster.name()).await?.down().await?;
        Ok(())
    }
}

impl Ground {
    async fn lay() -> anyhow::Result<Self> {
        let cluster = Cluster::up(&ClusterConfig::new("e2e").nodes(4)).await?;
        for archive in install::images()? {
            cluster.import_image(&archive).await?;
        }
        let receiver = Receiver::start(cluster.listen(0).await?)?;
        install::install(&cluster, &Settings::default(), &receiver).await?;
        let (give, take) = mpsc::unbounded_channel();
        for node in cluster.node_names().into_iter().filter(|node| node != HOME) {
            give.send(node).context("the receiving end is right here")?;
        }
        let client = cluster.client()?;
        Ok(Self { cluster, client, receiver, nodes: Nodes { give, take: Mutex::new(take) } })
    }

    /// A node for this test alone.
    pub(crate) async fn lease_node(&self) -> anyhow::Result<LeasedNode> {
        let name = self.nodes.take.lock().await.recv().await.context("nodes are always given back")?;
        Ok(LeasedNode { name, give: self.nodes.give.clone() })
    }

    /// A namespace that is enrolled and enforces Pod Security `restricted`.
    pub(crate) async fn enrolled_namespace(&self, prefix: &str) -> anyhow::Result<TempNamespace> {
        let labels = [(label::INJECT, label_value::ENABLED), ("pod-security.kubernetes.io/enforce", "restricted")];
        Ok(self.cluster.temp_namespace(prefix, &labels).await?)
    }

    /// Submits the worker's Job.
    pub(crate) async fn submit(&self, namespace: &str, worker: &Worker) -> anyhow::Result<Job> {
        let jobs = Api::<Job>::namespaced(self.client.clone(), namespace);
        jobs.create(&PostParams::default(), &worker.job())
            .await
            .with_context(|| format!("submitting {}", worker.name()))
    }
}

impl LeasedNode {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for LeasedNode {
    fn drop(&mut self) {
        // Nobody waits for a node any more once the bed is gone.
        let _ = self.give.send(std::mem::take(&mut self.name));
    }
}
