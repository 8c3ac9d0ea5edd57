//! Faults: crashing, cutting off, stopping and starting parts of a cluster.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::Api;

use crate::cluster::Cluster;
use crate::control_plane::{self, Component};
use crate::error::{Context, Result, log_tail};
use crate::layout::Layout;
use crate::poll::wait_until;
use crate::{cgroup, machine, network, node, node_images, parallel};

impl Cluster {
    /// Crashes a node as a power cut does: its link goes down, then every process on it ends at once.
    /// The link goes first, so that no closing connection tells a peer what happened.
    pub async fn crash(&self, node: &str) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| {
            network::set_link(&shared.layout, node, false)?;
            machine::kill(&shared.layout, node)?;
            cgroup::remove(&shared.layout.namespace(node))
        })
        .await
    }

    /// Boots a crashed node with the disk it had. Returns when its kubelet has been started, which is before Kubernetes
    /// counts the node as ready.
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

    /// Crashes a node and boots it again after this time, with another boot ID. Returns when its kubelet has been started.
    pub async fn reboot(&self, node: &str, down: Duration) -> Result<()> {
        self.crash(node).await?;
        tokio::time::sleep(down).await;
        self.start_node(node).await
    }

    /// Cuts a node off the network. Its processes keep running.
    pub async fn partition(&self, node: &str) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| network::set_link(&shared.layout, node, false)).await
    }

    /// Ends a partition.
    pub async fn heal(&self, node: &str) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| network::set_link(&shared.layout, node, true)).await
    }

    /// Kills a node's kubelet. Containers keep running.
    pub async fn stop_kubelet(&self, node: &str) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| node::stop_kubelet(&shared.layout, node)).await
    }

    /// Starts a node's kubelet unless it is running.
    pub async fn start_kubelet(&self, node: &str) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| {
            let running = !machine::find(&shared.layout, node, &["kubernetes", "kubelet"]).is_empty();
            if running { Ok(()) } else { node::start_kubelet(&shared.layout, node) }
        })
        .await
    }

    /// Suspends a node's container runtime with SIGSTOP. The kubelet gets no more news of any container, but continues to
    /// renew its Lease.
    pub async fn freeze_runtime(&self, node: &str) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| node::freeze_runtime(&shared.layout, node)).await
    }

    /// Resumes a frozen runtime.
    pub async fn thaw_runtime(&self, node: &str) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| node::thaw_runtime(&shared.layout, node)).await
    }

    /// Kills the API server.
    pub async fn stop_api_server(&self) -> Result<()> {
        self.changing(|shared| control_plane::stop(&shared.layout, Component::ApiServer)).await
    }

    /// Starts the API server unless it is running, and waits until it is ready.
    pub async fn start_api_server(&self) -> Result<()> {
        self.changing(|shared| ensure_running(&shared.layout, Component::ApiServer)).await?;
        self.wait_for_api_server().await
    }

    /// Kills the API server, starts it and waits until it is ready.
    pub async fn restart_api_server(&self) -> Result<()> {
        self.stop_api_server().await?;
        self.start_api_server().await
    }

    /// Kills the controller manager: from now on nothing creates pods for Jobs, taints nodes or collects garbage.
    pub async fn stop_controllers(&self) -> Result<()> {
        self.changing(|shared| control_plane::stop(&shared.layout, Component::ControllerManager)).await
    }

    /// Starts the controller manager unless it is running.
    pub async fn start_controllers(&self) -> Result<()> {
        self.changing(|shared| ensure_running(&shared.layout, Component::ControllerManager)).await
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

    /// Waits until the node's condition `Ready` is true, or until it is not.
    pub async fn wait_for_node(&self, node: &str, ready: bool, timeout: Duration) -> Result<()> {
        let machine = self.shared.layout.node(node)?;
        let nodes: Api<Node> = Api::all(self.client()?);
        let log = self.shared.layout.log(machine, "kubelet");
        let wanted = if ready { "ready" } else { "not ready" };
        wait_until(
            &format!("{node} has not become {wanted}"),
            timeout,
            || log_tail(&log),
            async || {
                let found = nodes.get_opt(node).await.context(|| format!("reading {node}"))?;
                Ok(found.is_some_and(|found| is_ready(&found) == ready))
            },
        )
        .await
    }

    /// Removes an image from the node's runtime, until [`Cluster::import_again`].
    pub async fn remove_image(&self, node: &str, image: &str) -> Result<()> {
        let machine = self.shared.layout.node(node)?;
        let image = image.to_owned();
        self.changing(move |shared| node_images::remove(&shared.layout, machine, &image)).await
    }

    /// Imports every image of the cluster on the node again.
    pub async fn import_again(&self, node: &str) -> Result<()> {
        let machine = self.shared.layout.node(node)?;
        self.changing(move |shared| node_images::import(&shared.layout, machine)).await
    }

    /// Imports the image in an OCI archive on every node. A node that is down imports it when it boots.
    pub async fn import_image(&self, archive: &Path) -> Result<()> {
        let archive = archive.to_owned();
        self.changing(move |shared| {
            let layout = &shared.layout;
            node_images::keep_archive(layout, &archive)?;
            let up = layout.nodes().filter(|node| machine::init_of(layout, *node).is_some());
            parallel::for_each(up, |node| node_images::import(layout, node))
        })
        .await
    }
}

fn ensure_running(layout: &Layout, component: Component) -> Result<()> {
    if control_plane::is_running(layout, component) { Ok(()) } else { control_plane::start(layout, component) }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
