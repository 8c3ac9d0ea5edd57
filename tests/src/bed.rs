//! What the claims of one program stand on: a cluster that the first of them boots.

use std::env;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::cluster::{Cluster, ClusterConfig};
use crate::ground::Ground;
use crate::install::Settings;

/// A cluster to be, and who waits for it.
pub struct Bed {
    runtime: Arc<Runtime>,
    config: ClusterConfig,
    settings: Settings,
    ground: OnceCell<Ground>,
}

impl Bed {
    /// A bed whose cluster is booted, and jobwarden installed there, when the first claim asks.
    pub fn new(runtime: Arc<Runtime>, config: ClusterConfig, settings: Settings) -> Self {
        Self { runtime, config, settings, ground: OnceCell::new() }
    }

    /// What the claims run on.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The cluster with jobwarden on it.
    pub async fn ground(&self) -> anyhow::Result<&Ground> {
        self.ground.get_or_try_init(|| Ground::lay(&self.config, self.settings.clone())).await
    }

    /// Tears the cluster down, if there ever was one. `JOBWARDEN_KEEP_CLUSTER` leaves it to look at.
    pub async fn end(&self) -> anyhow::Result<()> {
        let Some(ground) = self.ground.get() else { return Ok(()) };
        if env::var_os("JOBWARDEN_KEEP_CLUSTER").is_some() {
            // Without unwinding: what is not dropped is not torn down.
            std::process::exit(1);
        }
        Cluster::attach(ground.cluster.name()).await?.down().await?;
        Ok(())
    }
}
