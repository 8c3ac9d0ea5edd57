//! One cluster for all tests of a program. The first test that needs it boots it.

use std::env;
use std::sync::Arc;

use jobwarden_testbed::{Cluster, ClusterConfig};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::environment::Environment;
use crate::install::Settings;

/// A cluster that is booted on demand.
pub struct SharedCluster {
    runtime: Arc<Runtime>,
    config: ClusterConfig,
    settings: Settings,
    environment: OnceCell<Environment>,
}

impl SharedCluster {
    /// Nothing is booted until a test calls [`SharedCluster::environment`].
    pub fn new(runtime: Arc<Runtime>, config: ClusterConfig, settings: Settings) -> Self {
        Self { runtime, config, settings, environment: OnceCell::new() }
    }

    /// The runtime of all tests.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The cluster with jobwarden installed. The first call boots it.
    pub async fn environment(&self) -> anyhow::Result<&Environment> {
        self.environment.get_or_try_init(|| Environment::start(&self.config, self.settings.clone())).await
    }

    /// Tears the cluster down if it was booted. With `JOBWARDEN_KEEP_CLUSTER` set, leaves it running for inspection and ends
    /// the process.
    pub async fn tear_down(&self) -> anyhow::Result<()> {
        let Some(environment) = self.environment.get() else { return Ok(()) };
        if env::var_os("JOBWARDEN_KEEP_CLUSTER").is_some() {
            // Exiting without unwinding skips the drop that would tear the cluster down.
            std::process::exit(1);
        }
        Cluster::attach(environment.cluster.name()).await?.down().await?;
        Ok(())
    }
}
