//! The handle on a running cluster. Other modules add methods to it: faults, tools, containers, namespaces.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use crate::control_plane;
use crate::error::{ClusterError, Result};
use crate::forwarder::Forwarder;
use crate::layout::{API_PORT, CONTROL_PLANE, Layout, Machine};
use crate::netns::{self, NetworkNamespace};
use crate::signals::{self, Ownership};

/// What kind of cluster to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The cluster's name. Clusters of different names run side by side.
    pub name: String,
    /// The number of nodes, 1 to [`MAX_NODES`](crate::MAX_NODES). They are called `node-1`, `node-2`, ….
    pub nodes: u8,
}

impl ClusterConfig {
    /// A cluster of two nodes.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), nodes: 2 }
    }

    /// Sets the number of nodes.
    #[must_use]
    pub fn nodes(self, nodes: u8) -> Self {
        Self { nodes, ..self }
    }
}

/// A running cluster. A cluster from [`Cluster::up`] is torn down when this is dropped.
pub struct Cluster {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ownership: Option<Ownership>,
}

/// The part of [`Cluster`] that its methods move to other threads.
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    /// The folder with the programs that were built.
    pub(crate) programs: PathBuf,
    pub(crate) forwarder: Forwarder,
    /// How this process reaches the API server.
    pub(crate) config: kube::Config,
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

    /// A client with the rights of the cluster's administrator. It belongs to the tokio runtime it is created in.
    pub fn client(&self) -> Result<kube::Client> {
        client_for(&self.shared.config)
    }

    /// How a client in this process reaches the API server, as administrator.
    pub fn client_config(&self) -> kube::Config {
        self.shared.config.clone()
    }

    /// The administrator's kubeconfig. It works only inside the control plane's network namespace.
    pub fn kubeconfig(&self) -> PathBuf {
        self.shared.layout.kubeconfig()
    }

    /// The folder with the log of every component.
    pub fn logs_folder(&self) -> PathBuf {
        self.shared.layout.logs()
    }

    /// The PEM file with the key that signs service account tokens, for tests that forge tokens.
    pub fn service_account_key(&self) -> PathBuf {
        control_plane::service_account_key(&self.shared.layout)
    }

    /// Forwards a loopback port of this machine to an address inside the cluster's network, such as a Service's.
    pub async fn forward(&self, target: SocketAddr) -> Result<Forwarder> {
        self.blocking(move |shared| Forwarder::start(shared.layout.netns(Machine::ControlPlane), target)).await
    }

    /// Forwards a loopback port of this machine to an address as this container of a pod reaches it: the connections come from the pod.
    pub async fn forward_from(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        target: SocketAddr,
    ) -> Result<Forwarder> {
        let process = self.process_of(namespace, pod, container).await?;
        let netns = PathBuf::from(format!("/proc/{}/ns/net", process.pid));
        self.blocking(move |_| Forwarder::start(netns, target)).await
    }

    /// Listens on 10.88.0.1 inside the cluster's network, where pods and nodes can reach this process.
    /// With port 0 the kernel picks a free port.
    pub async fn listen(&self, port: u16) -> Result<TcpListener> {
        self.blocking(move |shared| netns::listen(&shared.layout.netns(Machine::ControlPlane), CONTROL_PLANE, port))
            .await
    }

    /// The network namespace of the control plane, for servers of others that pods reach on 10.88.0.1. They end with the cluster.
    pub fn network_namespace(&self) -> NetworkNamespace {
        NetworkNamespace::at(self.shared.layout.netns(Machine::ControlPlane))
    }

    /// Runs blocking `work` on a thread where it does not stall the runtime.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        blocking(move || work(&shared)).await
    }

    /// Like [`Self::blocking`], for work that changes the cluster: it does not start once the process has received a
    /// termination signal.
    pub(crate) async fn changing<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.blocking(move |shared| signals::unless_terminating(|| work(shared))).await
    }
}

/// Installs ring as the default rustls provider of this process, which every client of an API server needs.
pub fn install_crypto_provider() {
    // An error means that a provider is installed already, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client on the caller's runtime.
pub(crate) fn client_for(config: &kube::Config) -> Result<kube::Client> {
    install_crypto_provider();
    kube::Client::try_from(config.clone())
        .map_err(|source| ClusterError::Kubernetes { action: "creating a client".into(), source: Box::new(source) })
}

/// Runs blocking `work` on a thread where it does not stall the runtime.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ClusterError::Panicked("work on the cluster"))?
}

/// The API server's address inside the cluster.
pub(crate) fn api_server() -> SocketAddr {
    SocketAddr::from((CONTROL_PLANE, API_PORT))
}
