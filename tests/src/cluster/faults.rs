//! What tests do to a cluster: crash, cut off, stop and start its parts.

use std::fs;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::Api;

use super::control_plane::{self, Component};
use super::error::{Doing, Result, log_tail};
use super::layout::Layout;
use super::lifecycle::{eventually, in_parallel};
use super::{Cluster, cgroup, machine, network, node};

impl Cluster {
    /// Crashes a node as a power cut does: its cable goes dead, then everything on it ends at once.
    /// The cable first, so that no closing connection tells its peers what happened.
    pub async fn crash(&self, node: &str) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| {
            network::set_link(&shared.layout, node, false)?;
            machine::kill(&shared.layout, node)?;
            cgroup::remove(&shared.layout.namespace(node))
        })
        .await
    }

    /// Boots a node that was crashed, with the disk it had. Returns when its kubelet has been started.
    pub async fn start_node(&self, node: &str) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| {
            let layout = &shared.layout;
            if machine::init_of(layout, node).is_some() {
                return Ok(());
            }
            network::set_link(layout, node, true)?;
            machine::boot(layout, node, &shared.programs)?;
            node::start_runtime(layout, node)?;
            node::start_agents(layout, node)
        })
        .await
    }

    /// Cuts a node off from everything; what runs on it runs on.
    pub async fn partition(&self, node: &str) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| network::set_link(&shared.layout, node, false)).await
    }

    /// Ends a partition.
    pub async fn heal(&self, node: &str) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| network::set_link(&shared.layout, node, true)).await
    }

    /// Kills a node's kubelet; containers run on.
    pub async fn stop_kubelet(&self, node: &str) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| node::stop_kubelet(&shared.layout, node)).await
    }

    /// Starts a node's kubelet; one that runs is left alone.
    pub async fn start_kubelet(&self, node: &str) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| {
            let running = !machine::find(&shared.layout, node, &["kubernetes", "kubelet"]).is_empty();
            if running { Ok(()) } else { node::start_kubelet(&shared.layout, node) }
        })
        .await
    }

    /// Stops a node's container runtime without ending it: the kubelet hears no more of any container, and renews its
    /// Lease as ever.
    pub async fn freeze_runtime(&self, node: &str) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| node::freeze_runtime(&shared.layout, node)).await
    }

    /// Lets a frozen runtime go on.
    pub async fn thaw_runtime(&self, node: &str) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| node::thaw_runtime(&shared.layout, node)).await
    }

    /// Kills the API server.
    pub async fn stop_api_server(&self) -> Result<()> {
        self.changing(|shared| control_plane::stop(&shared.layout, Component::ApiServer)).await
    }

    /// Starts the API server and waits until it is ready; one that runs is left alone.
    pub async fn start_api_server(&self) -> Result<()> {
        self.changing(|shared| ensure_running(&shared.layout, Component::ApiServer)).await?;
        self.wait_for_api_server().await
    }

    /// Kills the API server, starts it and waits until it is ready.
    pub async fn restart_api_server(&self) -> Result<()> {
        self.stop_api_server().await?;
        self.start_api_server().await
    }

    /// Kills the controllers: nothing makes pods for a Job, taints a node or collects garbage any more.
    pub async fn stop_controllers(&self) -> Result<()> {
        self.changing(|shared| control_plane::stop(&shared.layout, Component::ControllerManager)).await
    }

    /// Kills etcd, starts it and waits until the API server is ready again.
    pub async fn restart_etcd(&self) -> Result<()> {
        self.changing(|shared| {
            control_plane::stop(&shared.layout, Component::Etcd)?;
            control_plane::start(&shared.layout, Component::Etcd)
        })
        .await?;
        self.wait_for_api_server().await
    }

    /// Waits until Kubernetes says that a node is ready, or that it is not.
    pub async fn wait_for_node(&self, node: &str, ready: bool, most: Duration) -> Result<()> {
        let machine = self.shared.layout.node(node)?;
        let nodes: Api<Node> = Api::all(self.client()?);
        let log = self.shared.layout.log(machine, "kubelet");
        let wish = if ready { "" } else { "not " };
        eventually(
            &format!("{node} has not become {wish}ready"),
            most,
            || log_tail(&log),
            async || {
                let found = nodes.get_opt(node).await.doing(|| format!("reading {node}"))?;
                Ok(found.is_some_and(|found| is_ready(&found) == ready))
            },
        )
        .await
    }

    /// Gives every node the image in an OCI archive; a node that is down gets it when it boots.
    pub async fn import_image(&self, archive: &Path) -> Result<()> {
        let archive = archive.to_owned();
        self.changing(move |shared| {
            let layout = &shared.layout;
            keep_archive(layout, &archive)?;
            let up = layout.nodes().filter(|node| machine::init_of(layout, *node).is_some());
            in_parallel(up, |node| node::import_images(layout, node))
        })
        .await
    }
}

/// Copies an archive among those that every node gets, and forgets that a node has had an older one of its name.
pub(super) fn keep_archive(layout: &Layout, archive: &Path) -> Result<()> {
    let name = Path::new(archive.file_name().unwrap_or_default()).with_extension("tar");
    let copy = layout.images().join(&name);
    fs::copy(archive, &copy).doing(|| format!("copying {} to {}", archive.display(), copy.display()))?;
    for node in layout.nodes() {
        let mark = layout.machine_dir(node).join("imported").join(&name);
        if mark.exists() {
            fs::remove_file(&mark).doing(|| format!("removing {}", mark.display()))?;
        }
    }
    Ok(())
}

fn ensure_running(layout: &Layout, component: Component) -> Result<()> {
    if control_plane::is_running(layout, component) { Ok(()) } else { control_plane::start(layout, component) }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
