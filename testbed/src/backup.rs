//! Backing up etcd, and restoring the backup.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::{Cluster, Shared};
use crate::command::run;
use crate::control_plane::{self, Component};
use crate::error::{Context, Result};
use crate::layout::{Layout, Machine};
use crate::{machine, node};

impl Cluster {
    /// Backs up what etcd holds, replacing an earlier backup. etcd is stopped meanwhile. Returns once the API server is ready.
    pub async fn back_up_etcd(&self) -> Result<()> {
        self.changing(|shared| {
            let layout = &shared.layout;
            control_plane::stop(layout, Component::Etcd)?;
            copy(&data(layout), &backup(layout))?;
            control_plane::start(layout, Component::Etcd)
        })
        .await?;
        self.wait_for_api_server().await
    }

    /// Restores the last backup of etcd: everything written since is lost, and resourceVersions continue from that of the backup.
    ///
    /// Restarts the parts of Kubernetes that watch the API server, as its documentation asks for after a restore. Returns once the API
    /// server is ready.
    pub async fn restore_etcd(&self) -> Result<()> {
        let parts = [Component::ControllerManager, Component::Scheduler, Component::Proxy];
        self.changing(move |shared| {
            let layout = &shared.layout;
            for part in [Component::ApiServer, Component::Etcd].into_iter().chain(parts) {
                control_plane::stop(layout, part)?;
            }
            copy(&backup(layout), &data(layout))?;
            control_plane::start(layout, Component::Etcd)?;
            control_plane::start(layout, Component::ApiServer)
        })
        .await?;
        self.wait_for_api_server().await?;
        self.changing(move |shared| {
            parts.into_iter().try_for_each(|part| control_plane::start(&shared.layout, part))?;
            restart_agents(shared)
        })
        .await
    }
}

fn restart_agents(shared: &Shared) -> Result<()> {
    let layout = &shared.layout;
    for machine in layout.nodes().filter(|node| machine::init_of(layout, *node).is_some()) {
        node::stop_kubelet(layout, machine)?;
        machine::stop(layout, machine, &["kubernetes", "kube-proxy"])?;
        node::start_agents(layout, machine)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).context(|| format!("removing {}", to.display()))?;
    }
    run(Command::new("cp").arg("--archive").arg(from).arg(to)).map(drop)
}

fn data(layout: &Layout) -> PathBuf {
    layout.var(Machine::ControlPlane).join("lib/etcd")
}

fn backup(layout: &Layout) -> PathBuf {
    layout.var(Machine::ControlPlane).join("lib/etcd.backup")
}
