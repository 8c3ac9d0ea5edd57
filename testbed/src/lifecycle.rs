//! Booting a cluster, attaching to a running one, and removing it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::build_cache::BuildCache;
use crate::cluster::{Cluster, ClusterConfig, Shared, api_server, blocking};
use crate::control_plane::{self, Component};
use crate::error::{ClusterError, Context, Result, log_tail};
use crate::forwarder::Forwarder;
use crate::layout::{Layout, Machine, STATE_ROOT, state_of};
use crate::pki::Authority;
use crate::poll::wait_until;
use crate::prerequisites::{self, Prerequisites};
use crate::signals::Ownership;
use crate::{binaries, dns, images, machine, network, node, node_images, parallel, progress, signals, teardown};

/// How long each part of the boot may take on a busy machine.
const BOOT_TIMEOUT: Duration = Duration::from_mins(2);

/// The file that [`Cluster::attach`] reads.
#[derive(Serialize, Deserialize)]
struct Record {
    nodes: u8,
    programs: PathBuf,
}

/// Installs and builds everything that a cluster needs, without booting one.
pub async fn prepare() -> Result<()> {
    blocking(|| ensure_prepared().map(drop)).await
}

impl Cluster {
    /// Builds what is missing, boots the cluster and returns once every node is ready and DNS answers.
    ///
    /// First removes what is left of a cluster of the same name whose process was killed.
    pub async fn up(config: &ClusterConfig) -> Result<Self> {
        let layout = Layout::new(&config.name, config.nodes)?;
        let (prerequisites, cache) = blocking(ensure_prepared).await?;
        let step = progress::step(format!("booting cluster {} with {} nodes", config.name, config.nodes));
        // If this future is dropped midway, the closure's result is dropped too, and with it the cluster is torn down.
        let mut cluster = blocking(move || boot_machines(layout, &prerequisites, &cache)).await?;
        let client = cluster.client()?;
        step.detail("waiting for the API server");
        cluster.wait_for_api_server().await?;
        step.detail("waiting for the nodes");
        cluster = blocking(move || start_remaining(cluster)).await?;
        dns::deploy(&client).await?;
        for node in cluster.node_names() {
            cluster.wait_for_node(&node, true, BOOT_TIMEOUT).await?;
        }
        step.detail("waiting for DNS");
        let log = cluster.shared.layout.log(Machine::Node(1), "kubelet");
        let problem = "the cluster's DNS server does not answer";
        wait_until(problem, BOOT_TIMEOUT, || log_tail(&log), || dns::is_ready(&client)).await?;
        step.detail("up");
        Ok(cluster)
    }

    /// Attaches to a running cluster. Dropping the result leaves the cluster running.
    pub async fn attach(name: &str) -> Result<Self> {
        let name = name.to_owned();
        blocking(move || {
            let path = state_of(&name).join("cluster.json");
            let not_running = || ClusterError::NotRunning { name: name.clone() };
            let text = fs::read(&path).map_err(|_| not_running())?;
            let record: Record =
                serde_json::from_slice(&text).map_err(|source| ClusterError::Record { path, source })?;
            let layout = Layout::new(&name, record.nodes)?;
            machine::init_of(&layout, Machine::ControlPlane).ok_or_else(not_running)?;
            let shared = Shared::new(layout, record.programs)?;
            Ok(Self { shared: Arc::new(shared), ownership: None })
        })
        .await
    }

    /// Leaves the cluster running when this process ends.
    #[must_use]
    pub fn keep(mut self) -> Self {
        if let Some(ownership) = self.ownership.take() {
            ownership.give_up();
        }
        self
    }

    /// Stops the cluster, whether it was booted or attached to, and removes everything that it consists of.
    pub async fn down(self) -> Result<()> {
        let name = self.name().to_owned();
        let owned = self.ownership.is_some();
        let cluster = self.keep();
        blocking(move || {
            // This releases the lock. A process that waits for the name tears down what is left before it boots.
            drop(cluster);
            if owned {
                signals::own(&name);
                signals::tear_down_owned(&name)
            } else {
                teardown::tear_down(&name)
            }
        })
        .await
    }

    /// Removes what exists of the cluster called `name`, running or not. Returns whether anything existed.
    pub async fn remove(name: &str) -> Result<bool> {
        let layout = Layout::new(name, 1)?;
        blocking(move || {
            let existed = teardown::exists(layout.name());
            teardown::tear_down(layout.name()).map(|()| existed)
        })
        .await
    }

    /// The names of all clusters that run on this machine or left something behind.
    pub fn names() -> Vec<String> {
        let Ok(entries) = fs::read_dir(STATE_ROOT) else { return Vec::new() };
        let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The name of each machine and a description of its state.
    pub fn machines(&self) -> BTreeMap<String, String> {
        let layout = &self.shared.layout;
        layout
            .machines()
            .map(|machine| {
                let state = machine::init_of(layout, machine)
                    .map_or_else(|| "down".to_owned(), |init| format!("up (PID 1 is process {})", init.pid));
                (machine.to_string(), format!("{:<12} {state}", machine.address().to_string()))
            })
            .collect()
    }

    pub(crate) async fn wait_for_api_server(&self) -> Result<()> {
        let client = self.client()?;
        let log = self.shared.layout.log(Machine::ControlPlane, Component::ApiServer.name());
        wait_until(
            "the API server is not ready",
            BOOT_TIMEOUT,
            || log_tail(&log),
            async || {
                let request =
                    http::Request::get("/readyz").body(Vec::new()).expect("a constant path is a valid request");
                Ok(client.request_text(request).await.is_ok())
            },
        )
        .await
    }
}

impl Shared {
    fn new(layout: Layout, programs: PathBuf) -> Result<Self> {
        let forwarder = Forwarder::start(layout.netns(Machine::ControlPlane), api_server())?;
        let config = client_config(&layout, forwarder.port())?;
        Ok(Self { layout, programs, forwarder, config })
    }
}

fn ensure_prepared() -> Result<(Prerequisites, BuildCache)> {
    let prerequisites = prerequisites::ensure()?;
    let cache = BuildCache::locate();
    let _lock = cache.lock("build", true)?;
    binaries::ensure(&cache)?;
    images::ensure(&cache)?;
    Ok((prerequisites, cache))
}

/// Boots all machines and starts what needs no API server.
fn boot_machines(layout: Layout, prerequisites: &Prerequisites, cache: &BuildCache) -> Result<Cluster> {
    let name = layout.name().to_owned();
    let lock =
        cache.lock(&format!("cluster-{name}"), false)?.ok_or_else(|| ClusterError::InUse { name: name.clone() })?;
    // Created outside of the closure below: its drop, which tears the cluster down, takes the same lock as the closure.
    let ownership = Ownership::take(name.clone(), lock);
    let shared = signals::unless_terminating(|| {
        teardown::tear_down(&name)?;
        write_state(&layout, prerequisites, cache)?;
        network::create(&layout)?;
        parallel::for_each(layout.machines(), |machine| machine::boot(&layout, machine, &cache.programs()))?;
        control_plane::start(&layout, Component::Etcd)?;
        control_plane::start(&layout, Component::ApiServer)?;
        parallel::for_each(layout.nodes(), |node| node::start_runtime(&layout, node))?;
        Shared::new(layout, cache.programs())
    })?;
    Ok(Cluster { shared: Arc::new(shared), ownership: Some(ownership) })
}

/// Starts what needs the API server.
fn start_remaining(cluster: Cluster) -> Result<Cluster> {
    let layout = &cluster.shared.layout;
    signals::unless_terminating(|| {
        control_plane::start(layout, Component::ControllerManager)?;
        layout.nodes().try_for_each(|node| node::start_agents(layout, node))?;
        control_plane::start(layout, Component::Scheduler)?;
        control_plane::start(layout, Component::Proxy)
    })?;
    Ok(cluster)
}

fn write_state(layout: &Layout, prerequisites: &Prerequisites, cache: &BuildCache) -> Result<()> {
    for folder in [layout.logs(), layout.images()] {
        fs::create_dir_all(&folder).context(|| format!("creating {}", folder.display()))?;
    }
    let images = cache.images();
    for entry in fs::read_dir(&images).context(|| format!("reading {}", images.display()))?.filter_map(Result::ok) {
        if entry.path().extension().is_some_and(|extension| extension == "tar") {
            node_images::keep_archive(layout, &entry.path())?;
        }
    }
    let authority = Authority::new()?;
    control_plane::write_config(layout, &authority)?;
    layout.nodes().try_for_each(|node| node::write_config(layout, node, &prerequisites.cni, &authority))?;
    let record = Record { nodes: layout.node_count(), programs: cache.programs() };
    let path = layout.state().join("cluster.json");
    let text = serde_json::to_string(&record).expect("a number and a path serialize to JSON");
    fs::write(&path, text).context(|| format!("writing {}", path.display()))
}

/// The client configuration of the administrator's kubeconfig, with the forwarder's port as the server.
fn client_config(layout: &Layout, port: u16) -> Result<kube::Config> {
    let path = layout.kubeconfig();
    let text = fs::read(&path).context(|| format!("reading {}", path.display()))?;
    let kubeconfig: serde_json::Value =
        serde_json::from_slice(&text).map_err(|source| ClusterError::Record { path: path.clone(), source })?;
    let authority = kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"].as_str().unwrap_or_default();
    let invalid = || ClusterError::Invalid(format!("{} contains no certificate authority", path.display()));
    let pem = STANDARD.decode(authority).map_err(|_| invalid())?;
    let body: String =
        String::from_utf8(pem).map_err(|_| invalid())?.lines().filter(|line| !line.starts_with("-----")).collect();
    let url = format!("https://127.0.0.1:{port}").parse().expect("a URL with a port number is valid");
    let mut config = kube::Config::new(url);
    config.root_cert = Some(vec![STANDARD.decode(body).map_err(|_| invalid())?]);
    config.auth_info = serde_json::from_value(kubeconfig["users"][0]["user"].clone())
        .map_err(|source| ClusterError::Record { path, source })?;
    // A proxy from the environment cannot reach this machine's loopback address.
    config.proxy_url = None;
    Ok(config)
}
