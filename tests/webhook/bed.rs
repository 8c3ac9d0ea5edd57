//! What the tests stand on: a cluster of one node, with jobwarden installed for them.

use std::env;
use std::sync::Arc;

use jobwarden_common::names::{label, label_value};
use jobwarden_tests::cluster::{Cluster, ClusterConfig, TempNamespace};
use jobwarden_tests::install::{self, Settings};
use jobwarden_tests::receiver::Receiver;
use kube::Client;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

/// How the chart is installed: nothing may be let past, and certificates change while the tests run.
const SET: [&str; 5] = [
    "webhook.failurePolicy.jobs=Fail",
    "webhook.failurePolicy.pods=Fail",
    "certificates.caLifetime=90s",
    "certificates.leafLifetime=60s",
    "reaper.notifyLate=true",
];

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
        let cluster = Cluster::up(&ClusterConfig::new("webhook").nodes(1)).await?;
        for archive in install::images()? {
            cluster.import_image(&archive).await?;
        }
        let receiver = Receiver::start(cluster.listen(0).await?)?;
        install::install(&cluster, &Settings { set: &SET, ..Settings::default() }, &receiver).await?;
        let client = cluster.client()?;
        Ok(Self { cluster, client, receiver })
    }

    /// A namespace that is enrolled and enforces Pod Security `restricted`.
    pub(crate) async fn enrolled_namespace(&self, prefix: &str) -> anyhow::Result<TempNamespace> {
        let labels = [(label::INJECT, label_value::ENABLED), ("pod-security.kubernetes.io/enforce", "restricted")];
        Ok(self.cluster.temp_namespace(prefix, &labels).await?)
    }
}
