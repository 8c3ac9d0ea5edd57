//! What one sample contains of one process.

use std::sync::Arc;

use crate::cgroup::Container;

/// One process of a pod, in one sample.
#[derive(Clone, Debug)]
pub struct ProcessSample {
    /// The container that the process belongs to.
    pub container: Arc<Container>,
    /// The process.
    pub process: ProcessKey,
    /// Whether the process runs; a zombie does not.
    pub alive: bool,
    /// CPU time, user and system, in milliseconds.
    pub cpu_ms: u64,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// Peak resident memory since the start of the process (`VmHWM`), in bytes.
    pub hwm_bytes: u64,
}

/// Identifies a process, even if a later process has the same PID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessKey {
    /// The PID.
    pub pid: i32,
    /// When the process started, in clock ticks since the node booted.
    pub started: u64,
}
