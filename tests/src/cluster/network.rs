//! The cluster's network: a bridge in the control plane's namespace and a cable (veth) from it to each node.
//!
//! Since the bridge itself is in a namespace, clusters side by side use the same addresses and never meet.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::command::{run, run_with_input};
use super::error::{ClusterError, Doing, Result};
use super::layout::{CONTROL_PLANE, Layout, Machine, NETNS_ROOT, SERVICE_RANGE, pod_range};
use super::netns;

/// Why writing to a `String` does not fail.
const STRING_TAKES_ALL: &str = "a String takes all that is written to it";

/// Makes the namespaces of all machines and joins them.
pub(super) fn create(layout: &Layout) -> Result<()> {
    for machine in layout.machines() {
        create_namespace(layout, machine)?;
    }
    ip_batch(layout, Machine::ControlPlane, &control_plane_commands(layout))?;
    for node in layout.nodes() {
        ip_batch(layout, node, &node_commands(layout, node))?;
    }
    for machine in layout.machines() {
        netns::inside(&layout.netns(machine), || {
            // Routing between pods and nodes is the point; a pod that reaches a neighbour on its own node through a
            // Service needs the bridge's traffic to pass iptables, while the bridge between nodes is only a wire.
            let is_node = machine != Machine::ControlPlane;
            fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0")?;
            fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", if is_node { "1" } else { "0" })
        })?;
    }
    Ok(())
}

/// Pulls the node's cable, or plugs it in again.
pub(super) fn set_link(layout: &Layout, node: Machine, up: bool) -> Result<()> {
    let state = if up { "up" } else { "down" };
    ip_batch(layout, Machine::ControlPlane, &format!("link set {node} {state}\n"))
}

/// Deletes a namespace with all that is in it; one that is not there is no error.
pub(super) fn delete_namespace(path: &Path) -> Result<()> {
    match nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH) {
        // Not mounted: made by a run that was killed between making the file and mounting the namespace on it.
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(errno) => return Err(errno).doing(|| format!("unmounting {}", path.display())),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).doing(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Makes a namespace as `ip netns add` does, without turning /run/netns into a mount of its own that would be left.
fn create_namespace(layout: &Layout, machine: Machine) -> Result<()> {
    let path = layout.netns(machine);
    fs::create_dir_all(NETNS_ROOT).doing(|| format!("making {NETNS_ROOT}"))?;
    fs::File::create_new(&path).doing(|| format!("making {}", path.display()))?;
    run(Command::new("unshare").arg(format!("--net={}", path.display())).arg("true"))?;
    Ok(())
}

fn control_plane_commands(layout: &Layout) -> String {
    // Without a route of its own a connection to a Service would be refused before kube-proxy's rules see it.
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
        .expect(STRING_TAKES_ALL);
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
            writeln!(commands, "route add {} via {}", pod_range(number), other.address()).expect(STRING_TAKES_ALL);
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
