//! The names, paths and addresses of a cluster, all derived from its name and its number of nodes.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::error::ClusterError;

/// The folder with one folder per cluster. It is short because the path of a UNIX socket has at most 107 bytes.
pub(crate) const STATE_ROOT: &str = "/var/lib/jobwarden-test";

/// Where `ip netns` finds namespaces.
pub(crate) const NETNS_ROOT: &str = "/run/netns";

/// The address range of Services.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";

/// The address range of pods.
pub(crate) const POD_RANGE: &str = "10.244.0.0/16";

/// The address of the API server's Service, `kubernetes.default`.
pub(crate) const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// The address of the cluster's DNS server.
pub(crate) const DNS_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// The control plane's address on the cluster's network.
pub const CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);

/// The API server's port.
pub(crate) const API_PORT: u16 = 6443;

/// The most nodes a cluster has.
pub const MAX_NODES: u8 = 4;

/// The longest name of a cluster, in bytes.
const MAX_NAME_BYTES: usize = 24;

/// A machine of the cluster, with its own network, PID, mount, UTS and IPC namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Machine {
    /// Runs etcd, the API server, the controller manager and the scheduler. It is not a node.
    ControlPlane,
    /// A node, numbered from 1.
    Node(u8),
}

impl Machine {
    /// The last octet of the machine's address.
    fn host_number(self) -> u8 {
        match self {
            Self::ControlPlane => 1,
            Self::Node(number) => 10 + number,
        }
    }

    /// The machine's address on the cluster's network.
    pub(crate) fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 88, 0, self.host_number())
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlPlane => f.write_str("control-plane"),
            Self::Node(number) => write!(f, "node-{number}"),
        }
    }
}

/// The address range of the pods on node `number`.
pub(crate) fn pod_range(number: u8) -> String {
    format!("10.244.{number}.0/24")
}

/// The names and paths of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    name: String,
    nodes: u8,
}

impl Layout {
    /// Checks the name and the number of nodes.
    pub(crate) fn new(name: &str, nodes: u8) -> Result<Self, ClusterError> {
        let fits = (1..=MAX_NAME_BYTES).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits {
            return Err(ClusterError::Invalid(format!(
                "invalid cluster name {name:?}: use 1 to {MAX_NAME_BYTES} lower-case letters, digits and hyphens"
            )));
        }
        if !(1..=MAX_NODES).contains(&nodes) {
            return Err(ClusterError::Invalid(format!(
                "invalid number of nodes {nodes}: a cluster has 1 to {MAX_NODES}"
            )));
        }
        Ok(Self { name: name.to_owned(), nodes })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn node_count(&self) -> u8 {
        self.nodes
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = Machine> + use<> {
        (1..=self.nodes).map(Machine::Node)
    }

    pub(crate) fn machines(&self) -> impl Iterator<Item = Machine> + use<> {
        std::iter::once(Machine::ControlPlane).chain(self.nodes())
    }

    /// The node called `name` (`node-1`).
    pub(crate) fn node(&self, name: &str) -> Result<Machine, ClusterError> {
        self.nodes()
            .find(|node| node.to_string() == name)
            .ok_or_else(|| ClusterError::NoSuchNode { cluster: self.name.clone(), node: name.to_owned() })
    }

    /// The folder with all of the cluster's state.
    pub(crate) fn state(&self) -> PathBuf {
        state_of(&self.name)
    }

    /// Logs of every component.
    pub(crate) fn logs(&self) -> PathBuf {
        self.state().join("logs")
    }

    /// The archives of the images that every node imports.
    pub(crate) fn images(&self) -> PathBuf {
        self.state().join("images")
    }

    /// The administrator's kubeconfig, for use inside the control plane's network namespace.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.state().join("admin.kubeconfig")
    }

    /// The folder of one machine on the host.
    pub(crate) fn machine_dir(&self, machine: Machine) -> PathBuf {
        self.state().join(machine.to_string())
    }

    /// The folder that the machine sees as `/var`.
    pub(crate) fn var(&self, machine: Machine) -> PathBuf {
        self.machine_dir(machine).join("var")
    }

    /// The file that records the process that is the machine's PID 1.
    pub(crate) fn init_record(&self, machine: Machine) -> PathBuf {
        self.machine_dir(machine).join("init.json")
    }

    /// The name of the machine's network namespace and of its cgroup.
    pub(crate) fn namespace(&self, machine: Machine) -> String {
        let prefix = namespace_prefix(&self.name);
        match machine {
            Machine::ControlPlane => format!("{prefix}cp"),
            Machine::Node(number) => format!("{prefix}{number}"),
        }
    }

    /// The file on which the machine's network namespace is mounted.
    pub(crate) fn netns(&self, machine: Machine) -> PathBuf {
        Path::new(NETNS_ROOT).join(self.namespace(machine))
    }

    /// The log of a component of a machine.
    pub(crate) fn log(&self, machine: Machine, component: &str) -> PathBuf {
        let file = match machine {
            Machine::ControlPlane => format!("{component}.log"),
            Machine::Node(_) => format!("{machine}-{component}.log"),
        };
        self.logs().join(file)
    }
}

/// The folder with all state of the cluster called `name`.
pub(crate) fn state_of(name: &str) -> PathBuf {
    Path::new(STATE_ROOT).join(name)
}

/// The prefix of the network namespaces and cgroups of the cluster called `name`.
fn namespace_prefix(name: &str) -> String {
    format!("jw-{name}-")
}

/// Whether `entry` is the name of a namespace or cgroup of the cluster called `name`, whatever its number of nodes.
pub(crate) fn is_namespace_of(name: &str, entry: &str) -> bool {
    entry
        .strip_prefix(&namespace_prefix(name))
        .is_some_and(|rest| rest == "cp" || (!rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_does_not_own_the_namespaces_of_a_cluster_with_a_longer_name() {
        for (entry, owned) in
            [("jw-a-cp", true), ("jw-a-1", true), ("jw-a-b-1", false), ("jw-ab-1", false), ("jw-a-", false)]
        {
            assert_eq!(is_namespace_of("a", entry), owned, "{entry}");
        }
    }

    #[test]
    fn invalid_names_and_numbers_of_nodes_are_rejected() {
        for (name, nodes, accepted) in [
            ("dev", 1, true),
            ("dev", 5, false),
            ("dev", 0, false),
            ("", 1, false),
            ("a/b", 1, false),
            ("Dev", 1, false),
        ] {
            assert_eq!(Layout::new(name, nodes).is_ok(), accepted, "{name} {nodes}");
        }
    }
}
