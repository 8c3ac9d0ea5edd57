//! The size of what etcd stores.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, ensure};
use jobwarden_testbed::{Cluster, Forwarder};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::bench::plain_http;

/// The client port, in the cluster's network.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2379);
/// The time between two looks at its size. It commits what it has changed several times in a second.
const POLL: Duration = Duration::from_secs(1);
/// How long the size may take to become constant.
const TIMEOUT: Duration = Duration::from_mins(1);
const MIB: f64 = 1024.0 * 1024.0;

/// etcd, by the JSON gateway of its gRPC interface.
pub(super) struct Etcd(Forwarder);

impl Etcd {
    pub(super) async fn of(cluster: &Cluster) -> anyhow::Result<Self> {
        Ok(Self(cluster.forward(ADDRESS).await?))
    }

    /// The size of its database in use (`dbSizeInUse`), in MiB, without the history: the API server has etcd drop all that is older than
    /// five to ten minutes, and this has it drop the rest, so that the figure does not depend on when it is measured.
    pub(super) async fn mib(&self) -> anyhow::Result<f64> {
        let revision = self.post("/v3/maintenance/status", &json!({})).await?["header"]["revision"].clone();
        self.post("/v3/kv/compaction", &json!({ "revision": revision, "physical": true })).await?;
        let give_up = Instant::now() + TIMEOUT;
        let mut last = None;
        loop {
            let bytes = self.bytes_in_use().await?;
            if last.is_some_and(|last| bytes >= last) {
                return Ok(bytes / MIB);
            }
            ensure!(Instant::now() < give_up, "etcd still shrinks {TIMEOUT:?} after a compaction");
            last = Some(bytes);
            sleep(POLL).await;
        }
    }

    async fn bytes_in_use(&self) -> anyhow::Result<f64> {
        let status = self.post("/v3/maintenance/status", &json!({})).await?;
        // 64-bit integers are strings in the JSON of protocol buffers.
        let bytes = status["dbSizeInUse"].as_str().context("etcd reports no dbSizeInUse")?;
        bytes.parse().with_context(|| format!("{bytes:?} is not a number of bytes"))
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (ok, answer) = plain_http::post(&self.0, path, &body.to_string()).await?;
        ensure!(ok, "{path}: {answer}");
        serde_json::from_str(&answer).with_context(|| format!("parsing the answer to {path}: {answer}"))
    }
}
