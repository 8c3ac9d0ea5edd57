//! A real multi-node Kubernetes on one Linux machine: no Docker, no virtual machines, and nodes that crash.
//!
//! ```text
//!  your process (host network)                      namespaces of cluster `x`
//!  ───────────────────────────                      ─────────────────────────
//!  kube::Client ─ 127.0.0.1:… ─ forwarder ─┐   ┌─ jw-x-cp  10.88.0.1  etcd, API server, controllers, scheduler
//!                                          └───┤     │ bridge
//!  Cluster::listen ◄───── pods dial 10.88.0.1 ─┤     ├── jw-x-1  10.88.0.11  containerd, kubelet, pods 10.244.1.0/24
//!                                              └     └── jw-x-2  10.88.0.12  containerd, kubelet, pods 10.244.2.0/24
//! ```
//!
//! Nothing is simulated. The API server, the kubelets and the container runtime are the programs that run in any
//! cluster, with the defaults of Kubernetes. Each machine of a cluster (the control plane and every node) has its own
//! PID, mount, network, UTS and IPC namespaces around a PID 1. Killing that one process is a power cut; setting one
//! link down is a network partition.
//!
//! [`Cluster::up`] boots a cluster and [`Cluster`] owns it: dropping the value removes everything that the cluster
//! consists of. [`tear_down_on_signals`] does the same on Ctrl-C. [`Cluster::attach`] uses a cluster that another process
//! booted and kept.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use jobwarden_testbed::{Cluster, ClusterConfig, tear_down_on_signals};
//!
//! # async fn example() -> Result<(), jobwarden_testbed::ClusterError> {
//! tear_down_on_signals();
//! let cluster = Cluster::up(&ClusterConfig::new("demo").nodes(2)).await?;
//! println!("{}", cluster.kubectl(["get", "nodes"]).await?);
//!
//! cluster.crash("node-2").await?;
//! // Kubernetes marks a silent node NotReady after 50 s.
//! cluster.wait_for_node("node-2", false, Duration::from_secs(100)).await?;
//! cluster.start_node("node-2").await?;
//! cluster.wait_for_node("node-2", true, Duration::from_secs(60)).await?;
//! cluster.down().await
//! # }
//! ```
//!
//! A cluster needs root on Linux, Go to build Kubernetes from source the first time, and a few Debian packages that are
//! installed when they are missing. `README.md` beside this crate lists what a cluster changes on the machine.

mod backup;
mod binaries;
mod build_cache;
mod cgroup;
mod cluster;
mod command;
mod containers;
mod control_plane;
mod dns;
mod error;
mod faults;
mod firewall;
mod forwarder;
mod images;
mod layout;
mod lifecycle;
mod machine;
mod netns;
mod network;
mod node;
mod node_images;
mod parallel;
mod pki;
mod poll;
mod prerequisites;
mod process;
pub mod progress;
mod signals;
mod teardown;
mod temp_namespace;
mod tools;

pub use binaries::helm;
pub use cgroup::cgroups_of;
pub use cluster::{Cluster, ClusterConfig, install_crypto_provider};
pub use error::{ClusterError, Result};
pub use firewall::Traffic;
pub use forwarder::Forwarder;
pub use images::archive_image;
pub use layout::{CONTROL_PLANE, MAX_NODES};
pub use lifecycle::prepare;
pub use netns::NetworkNamespace;
pub use prerequisites::{ensure_packages, ensure_programs};
pub use process::Process;
pub use signals::tear_down_on_signals;
pub use temp_namespace::TempNamespace;

/// The examples in `README.md` compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
