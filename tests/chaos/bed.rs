//! What all claims stand on.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use jobwarden_tests::cluster::{Cluster, ClusterConfig};
use jobwarden_tests::ground::Ground;
use jobwarden_tests::install::Settings;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

/// How long after the last sign of life a worker counts as lost here.
pub(crate) const LOST_AFTER: Duration = Duration::from_secs(30);

/// Everything a claim needs.
pub(crate) struct Bed {
    runtime: Arc<Runtime>,
    ground: OnceCell<Ground>,
}

impl Bed {
    pub(crate) fn new(runtime: Arc<Runtime>) -> Self {
        Self { runtime, ground: OnceCell::new() }
    }

    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The cluster with jobwarden on it; the first claim that asks boots it.
    pub(crate) async fn ground(&self) -> anyhow::Result<&Ground> {
        let lay = async || {
            let settings = Settings { lost_after: LOST_AFTER, ..Settings::default() };
            Ground::lay(&ClusterConfig::new("chaos").nodes(4), settings).await
        };
        self.ground.get_or_try_init(lay).await
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
