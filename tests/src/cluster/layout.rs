//! Where everything of a cluster is: names, paths and addresses, all derived from its name and its number of nodes.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::error::ClusterError;

/// The folder that holds one folder a cluster. Short, since a UNIX socket's path has at most 107 characters.
pub(super) const STATE_ROOT: &str = "/var/lib/jobwarden-test";

/// Where `ip netns` looks for namespaces.
pub(super) const NETNS_ROOT: &str = "/run/netns";

/// Every Service's address.
pub(super) const SERVICE_RANGE: &str = "10.96.0.0/16";

/// Every pod's address.
pub(super) const POD_RANGE: &str = "10.244.0.0/16";

/// The API server's own Service, `kubernetes.default`.
pub(super) const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// The address of the cluster's DNS server.
pub(super) const DNS_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// The control plane's address on the cluster's network.
pub const CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);

/// The API server's port.
pub(super) const API_PORT: u16 = 6443;

/// The most nodes a cluster has.
pub const MAX_NODES: u8 = 4;

/// The longest name of a cluster, in bytes.
const MAX_NAME_BYTES: usize = 24;

/// A machine of the cluster: network, process, mount, UTS and IPC namespaces of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Machine {
    /// Runs etcd, the API server, the controllers and the scheduler; not a node.
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
    pub(super) fn address(self) -> Ipv4Addr {
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

/// The range of the pods on node `number`.
pub(super) fn pod_range(number: u8) -> String {
    format!("10.244.{number}.0/24")
}

/// The names and paths of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    name: String,
    nodes: u8,
}

impl Layout {
    /// Checks the name and the number of nodes.
    pub(super) fn new(name: &str, nodes: u8) -> Result<Self, ClusterError> {
        let fits = (1..=MAX_NAME_BYTES).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits {
            return Err(ClusterError::Invalid(format!(
                "a cluster's name has 1 to {MAX_NAME_BYTES} lower-case letters, digits and hyphens, and {name:?} does not"
            )));
        }
        if !(1..=MAX_NODES).contains(&nodes) {
            return Err(ClusterError::Invalid(format!("a cluster has 1 to {MAX_NODES} nodes, not {nodes}")));
        }
        Ok(Self { name: name.to_owned(), nodes })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn node_count(&self) -> u8 {
        self.nodes
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = Machine> + use<> {
        (1..=self.nodes).map(Machine::Node)
    }

    pub(super) fn machines(&self) -> impl Iterator<Item = Machine> + use<> {
        std::iter::once(Machine::ControlPlane).chain(self.nodes())
    }

    /// The node called `name` (`node-1`).
    pub(super) fn node(&self, name: &str) -> Result<Machine, ClusterError> {
        self.nodes()
            .find(|node| node.to_string() == name)
            .ok_or_else(|| ClusterError::NoSuchNode { cluster: self.name.clone(), node: name.to_owned() })
    }

    /// The folder with all of the cluster's state.
    pub(super) fn state(&self) -> PathBuf {
        state_of(&self.name)
    }

    /// Logs of every component.
    pub(super) fn logs(&self) -> PathBuf {
        self.state().join("logs")
    }

    /// Archives of the images that were imported.
    pub(super) fn images(&self) -> PathBuf {
        self.state().join("images")
    }

    /// The administrator's kubeconfig, for use inside the control plane's network namespace.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.state().join("admin.kubeconfig")
    }

    /// The folder of one machine on the host.
    pub(super) fn machine_dir(&self, machine: Machine) -> PathBuf {
        self.state().join(machine.to_string())
    }

    /// What the machine sees as its `/var`.
    pub(super) fn var(&self, machine: Machine) -> PathBuf {
        self.machine_dir(machine).join("var")
    }

    /// The record of the process that is the machine's PID 1.
    pub(super) fn init_record(&self, machine: Machine) -> PathBuf {
        self.machine_dir(machine).join("init.json")
    }

    /// The machine's network namespace, which is also the name of its cgroup.
    pub(super) fn namespace(&self, machine: Machine) -> String {
        let prefix = namespace_prefix(&self.name);
        match machine {
            Machine::ControlPlane => format!("{prefix}cp"),
            Machine::Node(number) => format!("{prefix}{number}"),
        }
    }

    /// The file that holds the machine's network namespace.
    pub(super) fn netns(&self, machine: Machine) -> PathBuf {
        Path::new(NETNS_ROOT).join(self.namespace(machine))
    }

    /// The log of a component of a machine.
    pub(super) fn log(&self, machine: Machine, component: &str) -> PathBuf {
        let file = match machine {
            Machine::ControlPlane => format!("{component}.log"),
            Machine::Node(_) => format!("{machine}-{component}.log"),
        };
        self.logs().join(file)
    }
}

/// The folder with all state of the cluster called `name`.
pub(super) fn state_of(name: &str) -> PathBuf {
    Path::new(STATE_ROOT).join(name)
}

/// What the network namespaces and cgroups of the cluster called `name` begin with.
fn namespace_prefix(name: &str) -> String {
    format!("jw-{name}-")
}

/// Whether `entry` is the name of a namespace or cgroup of the cluster called `name`, whatever its number of nodes.
pub(super) fn is_namespace_of(name: &str, entry: &str) -> bool {
    entry
        .strip_prefix(&namespace_prefix(name))
        .is_some_and(|rest| rest == "cp" || (!rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_does_not_claim_the_namespaces_of_one_whose_name_begins_alike() {
        for (entry, claimed) in
            [("jw-a-cp", true), ("jw-a-1", true), ("jw-a-b-1", false), ("jw-ab-1", false), ("jw-a-", false)]
        {
            assert_eq!(is_namespace_of("a", entry), claimed, "{entry}");
        }
    }

    #[test]
    fn names_that_would_not_fit_a_path_are_refused() {
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
