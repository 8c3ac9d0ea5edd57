//! A real Kubernetes of one to four nodes on this one machine.
//!
//! ```text
//!  test process (host network)                      namespaces of cluster `x`
//!  ───────────────────────────                      ─────────────────────────
//!  kube::Client ─ 127.0.0.1:… ─ forwarder ─┐   ┌─ jw-x-cp  10.88.0.1  etcd, API server, controllers, scheduler
//!                                          └───┤     │ bridge
//!  Cluster::listen ◄───── pods dial 10.88.0.1 ─┤     ├── jw-x-1  10.88.0.11  containerd, kubelet, pods 10.244.1.0/24
//!                                              └     └── jw-x-2  10.88.0.12  containerd, kubelet, pods 10.244.2.0/24
//! ```
//!
//! Nothing is simulated: the API server, the kubelets and the runtime are the ones that run anywhere, with Kubernetes'
//! own defaults. Each machine has PID, mount, network, UTS and IPC namespaces of its own around a PID 1; killing that
//! one process is a power cut, and setting one link down is a partition.

mod binaries;
mod cgroup;
mod command;
mod containers;
mod control_plane;
mod dns;
mod error;
mod faults;
mod forwarder;
mod images;
mod layout;
mod lifecycle;
mod machine;
mod netns;
mod network;
mod node;
mod pki;
mod prerequisites;
mod process;
mod signals;
mod teardown;
mod temp_namespace;
mod tools;
mod walls;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

pub use binaries::helm;
pub use error::{ClusterError, Result};
pub use forwarder::Forwarder;
pub use images::archive_image;
pub use layout::{CONTROL_PLANE, MAX_NODES};
pub use lifecycle::build;
pub use prerequisites::ensure_packages;
pub use process::Process;
pub use signals::tear_down_on_signals;
pub use temp_namespace::TempNamespace;
pub use walls::Wall;

use layout::{API_PORT, Layout, Machine};
use lifecycle::Owned;

/// What kind of cluster to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The cluster's name; clusters of different names live side by side.
    pub name: String,
    /// The number of nodes, 1 to [`MAX_NODES`], which are called `node-1`, `node-2`, ….
    pub nodes: u8,
}

impl ClusterConfig {
    /// A cluster of two nodes.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), nodes: 2 }
    }

    /// The same with another number of nodes.
    #[must_use]
    pub fn nodes(self, nodes: u8) -> Self {
        Self { nodes, ..self }
    }
}

/// A running cluster. One that came from [`Cluster::up`] is torn down when this is dropped.
pub struct Cluster {
    shared: Arc<Shared>,
    owned: Option<Owned>,
}

/// What the methods of [`Cluster`] take along to other threads.
struct Shared {
    layout: Layout,
    /// The folder with the programs that were built.
    programs: PathBuf,
    forwarder: Forwarder,
    /// How the test process reaches the API server.
    config: kube::Config,
}

impl Cluster {
    /// The cluster's name.
    pub fn name(&self) -> &str {
        self.shared.layout.name()
    }

    /// The names of the nodes: `node-1`, ….
    pub fn node_names(&self) -> Vec<String> {
        self.shared.layout.nodes().map(|node| node.to_string()).collect()
    }

    /// A client with the rights of the cluster's administrator. It belongs to the tokio runtime it is made in.
    pub fn client(&self) -> Result<kube::Client> {
        client_of(self.shared.config.clone())
    }

    /// How a client in this process reaches the API server, as administrator.
    pub fn client_config(&self) -> kube::Config {
        self.shared.config.clone()
    }

    /// The administrator's kubeconfig; it only serves inside the control plane's network namespace.
    pub fn kubeconfig(&self) -> PathBuf {
        self.shared.layout.kubeconfig()
    }

    /// The folder with the log of every component.
    pub fn logs_folder(&self) -> PathBuf {
        self.shared.layout.logs()
    }

    /// The key that signs the tokens of service accounts, PEM: for tests that forge them.
    pub fn service_account_key(&self) -> PathBuf {
        control_plane::service_account_key(&self.shared.layout)
    }

    /// Brings an address inside the cluster's network, such as a Service's, out to a port on loopback.
    pub async fn forward(&self, target: SocketAddr) -> Result<Forwarder> {
        self.blocking(move |shared| Forwarder::start(shared.layout.netns(Machine::ControlPlane), target)).await
    }

    /// Listens on 10.88.0.1 inside the cluster's network: pods and nodes reach this process there.
    /// Port 0 lets the kernel choose a free one.
    pub async fn listen(&self, port: u16) -> Result<TcpListener> {
        self.blocking(move |shared| netns::listen(&shared.layout.netns(Machine::ControlPlane), CONTROL_PLANE, port))
            .await
    }

    /// Runs `work`, which blocks, where it does not hold up the runtime.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Shared) -> Result<T> + Send + 'static) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        blocking(move || work(&shared)).await
    }

    /// Like [`Self::blocking`], for what changes the cluster: it does not begin once the process has been told to end.
    async fn changing<T: Send + 'static>(&self, work: impl FnOnce(&Shared) -> Result<T> + Send + 'static) -> Result<T> {
        self.blocking(move |shared| signals::unless_ending(|| work(shared))).await
    }
}

/// Makes ring this process' cryptography, as every client of an API server needs.
pub fn install_crypto_provider() {
    // Whoever was first has installed the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn client_of(config: kube::Config) -> Result<kube::Client> {
    install_crypto_provider();
    kube::Client::try_from(config)
        .map_err(|source| ClusterError::Kubernetes { doing: "making a client".into(), source: Box::new(source) })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ClusterError::Panicked("work on the cluster"))?
}

/// The API server's address inside the cluster.
fn api_server() -> SocketAddr {
    SocketAddr::from((CONTROL_PLANE, API_PORT))
}
