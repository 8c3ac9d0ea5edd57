//! Bringing a cluster up, attaching to one that runs, and ending it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};

use super::binaries::Built;
use super::control_plane::{self, Component};
use super::error::{ClusterError, Doing, Result, log_tail};
use super::forwarder::Forwarder;
use super::layout::{Layout, Machine, state_of};
use super::pki::Authority;
use super::prerequisites::{self, Prerequisites};
use super::{Cluster, ClusterConfig, Shared, api_server, blocking, client_of, dns, machine, network, node, signals};
use super::{faults, teardown};
use crate::progress;

/// How long each part of the boot may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_mins(2);

/// How often to look whether something has happened.
pub(super) const POLL: Duration = Duration::from_millis(100);

/// What is recorded of a running cluster, for [`Cluster::attach`].
#[derive(Serialize, Deserialize)]
struct Record {
    nodes: u8,
    programs: PathBuf,
}

/// The duty to tear a cluster down, along with the lock that keeps other processes from using its name.
pub(super) struct Owned {
    name: String,
    _lock: Flock<fs::File>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Err(error) = signals::tear_down_owned(&self.name) {
            progress::note(format!("tearing down cluster {}: {error}", self.name));
        }
    }
}

/// Installs and builds all that a cluster needs, without booting one.
pub async fn build() -> Result<()> {
    blocking(|| prepare().map(drop)).await
}

impl Cluster {
    /// Builds what is missing, boots the cluster and returns once every node is ready and DNS answers.
    ///
    /// What an earlier run of the same name left, because it was killed, is cleared first.
    pub async fn up(config: &ClusterConfig) -> Result<Self> {
        let layout = Layout::new(&config.name, config.nodes)?;
        let (prerequisites, built) = blocking(prepare).await?;
        let step = progress::step(format!("booting cluster {} with {} nodes", config.name, config.nodes));
        // Should this future be dropped on the way, the duty to tear down is dropped with the closure's result.
        let mut cluster = blocking(move || boot_machines(layout, &prerequisites, &built)).await?;
        let client = cluster.client()?;
        step.detail("waiting for the API server");
        cluster.wait_for_api_server().await?;
        step.detail("waiting for the nodes");
        cluster = blocking(move || start_rest(cluster)).await?;
        dns::deploy(&client).await?;
        for node in cluster.node_names() {
            cluster.wait_for_node(&node, true, PATIENCE).await?;
        }
        step.detail("waiting for DNS");
        let log = cluster.shared.layout.log(Machine::Node(1), "kubelet");
        eventually("the cluster's DNS server does not answer", PATIENCE, || log_tail(&log), || dns::is_ready(&client))
            .await?;
        step.detail("up");
        Ok(cluster)
    }

    /// Attaches to a running cluster, which goes on running when the result is dropped.
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
            Ok(Self { shared: Arc::new(shared), owned: None })
        })
        .await
    }

    /// Lets the cluster run on when this process ends.
    #[must_use]
    pub fn keep(mut self) -> Self {
        if let Some(owned) = self.owned.take() {
            signals::disown(&owned.name);
        }
        self
    }

    /// Ends the cluster, whether it was booted or attached to, and removes all that it consisted of.
    pub async fn down(self) -> Result<()> {
        let name = self.name().to_owned();
        let owned = self.owned.is_some();
        let cluster = self.keep();
        blocking(move || {
            // The lock, if there is one, was given up: whoever waits for the name clears what is left first.
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

    /// Removes what there is of the cluster called `name`, running or not; says whether there was anything.
    pub async fn remove(name: &str) -> Result<bool> {
        let layout = Layout::new(name, 1)?;
        blocking(move || {
            let existed = teardown::exists(layout.name());
            teardown::tear_down(layout.name()).map(|()| existed)
        })
        .await
    }

    /// The names of all clusters that run on this machine or were left on it.
    pub fn names() -> Vec<String> {
        let Ok(entries) = fs::read_dir(super::layout::STATE_ROOT) else { return Vec::new() };
        let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// What runs on each machine, for people: the machine's name and its state.
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

    pub(super) async fn wait_for_api_server(&self) -> Result<()> {
        let client = self.client()?;
        let log = self.shared.layout.log(Machine::ControlPlane, Component::ApiServer.name());
        eventually(
            "the API server is not ready",
            PATIENCE,
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

    /// The port on loopback that leads to the API server.
    pub(super) fn port(&self) -> u16 {
        self.forwarder.port()
    }
}

fn prepare() -> Result<(Prerequisites, Built)> {
    let prerequisites = prerequisites::ensure()?;
    let built = Built::locate();
    built.ensure()?;
    Ok((prerequisites, built))
}

/// Boots all machines and starts what needs no API server.
fn boot_machines(layout: Layout, prerequisites: &Prerequisites, built: &Built) -> Result<Cluster> {
    let name = layout.name().to_owned();
    let lock =
        built.lock(&format!("cluster-{name}"), false)?.ok_or_else(|| ClusterError::InUse { name: name.clone() })?;
    signals::own(&name);
    // Outside of what follows: tearing down, too, waits its turn when the process has been told to end.
    let owned = Owned { name: name.clone(), _lock: lock };
    let shared = signals::unless_ending(|| {
        teardown::tear_down(&name)?;
        write_state(&layout, prerequisites, built)?;
        network::create(&layout)?;
        in_parallel(layout.machines(), |machine| machine::boot(&layout, machine, &built.programs()))?;
        control_plane::start(&layout, Component::Etcd)?;
        control_plane::start(&layout, Component::ApiServer)?;
        in_parallel(layout.nodes(), |node| node::start_runtime(&layout, node))?;
        Shared::new(layout, built.programs())
    })?;
    Ok(Cluster { shared: Arc::new(shared), owned: Some(owned) })
}

/// Starts what needs the API server.
fn start_rest(cluster: Cluster) -> Result<Cluster> {
    let layout = &cluster.shared.layout;
    signals::unless_ending(|| {
        control_plane::start(layout, Component::ControllerManager)?;
        layout.nodes().try_for_each(|node| node::start_agents(layout, node))?;
        control_plane::start(layout, Component::Scheduler)?;
        control_plane::start(layout, Component::Proxy)
    })?;
    Ok(cluster)
}

fn write_state(layout: &Layout, prerequisites: &Prerequisites, built: &Built) -> Result<()> {
    for folder in [layout.logs(), layout.images()] {
        fs::create_dir_all(&folder).doing(|| format!("making {}", folder.display()))?;
    }
    let images = built.images();
    for entry in fs::read_dir(&images).doing(|| format!("reading {}", images.display()))?.filter_map(Result::ok) {
        if entry.path().extension().is_some_and(|extension| extension == "tar") {
            faults::keep_archive(layout, &entry.path())?;
        }
    }
    let authority = Authority::new()?;
    control_plane::write_config(layout, &authority)?;
    layout.nodes().try_for_each(|node| node::write_config(layout, node, &prerequisites.cni, &authority))?;
    let record = Record { nodes: layout.node_count(), programs: built.programs() };
    let path = layout.state().join("cluster.json");
    let text = serde_json::to_string(&record).expect("a record of a number and a path is valid JSON");
    fs::write(&path, text).doing(|| format!("writing {}", path.display()))
}

/// Does `work` for each machine at the same time.
pub(super) fn in_parallel(
    machines: impl Iterator<Item = Machine>,
    work: impl Fn(Machine) -> Result<()> + Sync,
) -> Result<()> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = machines.map(|machine| scope.spawn(move || work(machine))).collect();
        let results: Vec<Result<()>> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(ClusterError::Panicked("work on a machine"))))
            .collect();
        results.into_iter().collect()
    })
}

/// Asks again and again until the answer is yes. An error counts as a no, and is told if it was the last answer.
pub(super) async fn eventually(
    what: &str,
    most: Duration,
    tail: impl Fn() -> String,
    mut check: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        let answer = check().await;
        if matches!(answer, Ok(true)) {
            return Ok(());
        }
        if begun.elapsed() > most {
            let error = answer.err().map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(ClusterError::TimedOut { what: format!("{what}{error}"), waited: most, tail: tail() });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The administrator's kubeconfig, turned towards the forwarder.
fn client_config(layout: &Layout, port: u16) -> Result<kube::Config> {
    let path = layout.kubeconfig();
    let text = fs::read(&path).doing(|| format!("reading {}", path.display()))?;
    let kubeconfig: serde_json::Value =
        serde_json::from_slice(&text).map_err(|source| ClusterError::Record { path: path.clone(), source })?;
    let authority = kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"].as_str().unwrap_or_default();
    let invalid = || ClusterError::Invalid(format!("{} holds no certificate authority", path.display()));
    let pem = STANDARD.decode(authority).map_err(|_| invalid())?;
    let body: String =
        String::from_utf8(pem).map_err(|_| invalid())?.lines().filter(|line| !line.starts_with("-----")).collect();
    let url = format!("https://127.0.0.1:{port}").parse().expect("a number makes a valid URL");
    let mut config = kube::Config::new(url);
    config.root_cert = Some(vec![STANDARD.decode(body).map_err(|_| invalid())?]);
    config.auth_info = serde_json::from_value(kubeconfig["users"][0]["user"].clone())
        .map_err(|source| ClusterError::Record { path, source })?;
    // A client asks for a proxy from the environment only in `infer`; the address is loopback in any case.
    config.proxy_url = None;
    Ok(config)
}

/// A client on a runtime of the caller's own, for use where the cluster may be gone by then.
pub(super) fn client_for(config: &kube::Config) -> Result<kube::Client> {
    client_of(config.clone())
}
