//! The cluster's network: a bridge in the control plane's namespace and a veth pair from it to each node.
//!
//! The bridge itself is in a namespace, so clusters side by side use the same addresses without a conflict.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command::{run, run_with_input};
use crate::error::{ClusterError, Context, Result};
use crate::layout::{CONTROL_PLANE, Layout, Machine, NETNS_ROOT, SERVICE_RANGE, pod_range};
use crate::netns;

/// The reason for an `expect`.
const INFALLIBLE: &str = "writing to a String cannot fail";

/// Creates the namespaces of all machines and connects them.
pub(crate) fn create(layout: &Layout) -> Result<()> {
    for machine in layout.machines() {
        create_namespace(layout, machine)?;
    }
    ip_batch(layout, Machine::ControlPlane, &control_plane_commands(layout))?;
    for node in layout.nodes() {
        ip_batch(layout, node, &node_commands(layout, node))?;
    }
    for machine in layout.machines() {
        netns::inside(&layout.netns(machine), || {
            // Nodes route between pods. On a node, bridged traffic passes iptables, which a pod needs to reach another pod
            // of the same node through a Service. The bridge between the nodes is only a wire.
            let is_node = machine != Machine::ControlPlane;
            fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0")?;
            fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", if is_node { "1" } else { "0" })
        })?;
    }
    Ok(())
}

/// Sets the node's link up or down.
pub(crate) fn set_link(layout: &Layout, node: Machine, up: bool) -> Result<()> {
    let state = if up { "up" } else { "down" };
    ip_batch(layout, Machine::ControlPlane, &format!("link set {node} {state}\n"))
}

/// Deletes a namespace and its interfaces. It is no error if the namespace does not exist.
pub(crate) fn delete_namespace(path: &Path) -> Result<()> {
    match nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH) {
        // Not mounted: the run was killed after it created the file and before it mounted the namespace on it.
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(errno) => return Err(errno).context(|| format!("unmounting {}", path.display())),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Creates a namespace as `ip netns add` does, but does not make /run/netns a mount point, which would be left behind.
fn create_namespace(layout: &Layout, machine: Machine) -> Result<()> {
    let path = layout.netns(machine);
    fs::create_dir_all(NETNS_ROOT).context(|| format!("creating {NETNS_ROOT}"))?;
    fs::File::create_new(&path).context(|| format!("creating {}", path.display()))?;
    run(Command::new("unshare").arg(format!("--net={}", path.display())).arg("true"))?;
    Ok(())
}

fn control_plane_commands(layout: &Layout) -> String {
    // Without this route a connection to a Service fails before kube-proxy's rules see it.
    let mut commands = format!(
        "link set lo up\n\
         link add cluster type bridge\n\
         addr add {CONTROL_PLANE}/24 dev cluster\n\
         link set cluster up\n\
         route add {SERVICE_RANGE} dev cluster\n"
    );
    for (number, node) in (1..).zip(layout.nodes()) {
        write!(
            commands,
            "link add {node} type veth peer name eth0 netns {}\n\
             link set {node} master cluster up\n\
             route add {} via {}\n",
            layout.namespace(node),
            pod_range(number),
            node.address(),
        )
        .expect(INFALLIBLE);
    }
    commands
}

fn node_commands(layout: &Layout, node: Machine) -> String {
    let mut commands = format!(
        "link set lo up\n\
         addr add {}/24 dev eth0\n\
         link set eth0 up\n\
         route add {SERVICE_RANGE} via {CONTROL_PLANE}\n",
        node.address()
    );
    for (number, other) in (1..).zip(layout.nodes()) {
        if other != node {
            writeln!(commands, "route add {} via {}", pod_range(number), other.address()).expect(INFALLIBLE);
        }
    }
    commands
}

fn ip_batch(layout: &Layout, machine: Machine, commands: &str) -> Result<()> {
    let namespace = layout.namespace(machine);
    run_with_input(Command::new("ip").args(["-netns", &namespace, "-batch", "-"]), commands).map(drop).map_err(
        |error| match error {
            ClusterError::Command { output, status, .. } => ClusterError::Command {
                command: format!("ip -netns {namespace}: {}", commands.trim().replace('\n', "; ")),
                status,
                output,
            },
            other => other,
        },
    )
}
