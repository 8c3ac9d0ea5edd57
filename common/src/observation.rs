//! Observations: what a node agent posts to [`crate::names::route::OBSERVATIONS`], and the reply.
//!
//! The node is not in the body: it comes from the agent's pod-bound token.

use serde::{Deserialize, Serialize};

use crate::identity::PodUid;

/// What one agent observed since its last acknowledged report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Counts up from 0 since the start of the agent.
    pub seq: u64,
    /// Why the agent cannot observe this node (`hidepid`, no host PID namespace), if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
    /// One entry for each worker pod that the agent has observed and must still remember.
    pub pods: Vec<PodObservation>,
}

/// What the node agent observed of one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodObservation {
    /// The pod's UID, from its cgroup.
    pub pod_uid: PodUid,
    /// The containers of this pod, including the sandbox: the agent cannot tell them apart, the reaper can.
    pub containers: Vec<ContainerObservation>,
}

/// What the node agent observed of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerObservation {
    /// The runtime's ID, without the prefix `containerd://` that the kubelet adds.
    pub container_id: String,
    /// Processes alive in the last sample; 0 means that the container was observed before and is gone.
    pub processes: u32,
    /// Sum of the processes' resident memory in the last sample, in bytes (`/proc/<pid>/statm`, proc(5)).
    pub rss_bytes: u64,
    /// The highest sampled sum, in bytes. A page shared by several processes counts once for each.
    pub rss_sum_peak_bytes: u64,
    /// The largest `VmHWM` of any observed process, in bytes (`/proc/<pid>/status`, proc(5)): a lower bound of the memory used.
    pub largest_hwm_bytes: u64,
    /// CPU time of all observed processes, user and system, in milliseconds (`/proc/<pid>/stat`, proc(5)).
    pub cpu_ms: u64,
    /// The cgroup's own peak in bytes, if readable, including page cache: an upper bound of the memory used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_peak_bytes: Option<u64>,
}

/// The reply to an accepted report. It acknowledges the report: the reaper has stored its peaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportReply {
    /// Milliseconds until the next report.
    pub next_in_ms: u64,
    /// The worker pods bound to this node. The agent need not report other pods, and may forget those of them that have ended.
    pub pods: Vec<PodUid>,
    /// A CA bundle (PEM) newer than the one the agent was given, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}
