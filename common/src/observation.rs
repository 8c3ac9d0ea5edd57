//! Observations: what a node agent posts to [`crate::names::route::OBSERVATIONS`] and what it is told.
//!
//! The node is never in the body: it is what the agent's pod-bound token says.

use serde::{Deserialize, Serialize};

use crate::identity::PodUid;

/// What one agent saw since its last acknowledged report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Counts up from 0 with the agent's start.
    pub seq: u64,
    /// Why the agent sees nothing on this node (`hidepid`, no host PID namespace), if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
    /// One entry a worker pod the agent has ever seen and may not yet forget.
    pub pods: Vec<PodObservation>,
}

/// What the node agent saw of one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodObservation {
    /// The pod, as its cgroup names it.
    pub pod_uid: PodUid,
    /// The containers seen in this pod, the sandbox's own among them: an agent cannot tell them apart, the reaper can.
    pub containers: Vec<ContainerObservation>,
}

/// What the node agent saw of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerObservation {
    /// The runtime's ID, without the `containerd://` that the kubelet puts before it.
    pub container_id: String,
    /// Processes alive in the last sample; 0 means that the container was seen before and is gone.
    pub processes: u32,
    /// Sum of the processes' resident memory in the last sample, in bytes (`/proc/<pid>/statm`, proc(5)).
    pub rss_bytes: u64,
    /// The highest such sum sampled, in bytes. Pages that processes share count once for each.
    pub rss_sum_peak_bytes: u64,
    /// The largest `VmHWM` of any one process ever seen, in bytes (`/proc/<pid>/status`, proc(5)): memory certainly used.
    pub largest_hwm_bytes: u64,
    /// CPU time of all processes ever seen, user and system, in milliseconds (`/proc/<pid>/stat`, proc(5)).
    pub cpu_ms: u64,
    /// The cgroup's own peak in bytes where it can be read, page cache included: an upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_peak_bytes: Option<u64>,
}

/// The reply to an accepted report. A report that was answered is acknowledged: its peaks are safe with the reaper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportReply {
    /// Milliseconds until the next report is wanted.
    pub next_in_ms: u64,
    /// The worker pods bound to this node. Pods outside this list need not be reported, and those among them that have
    /// ended may be forgotten.
    pub pods: Vec<PodUid>,
    /// A CA bundle (PEM) newer than the one the agent was given, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}
