//! The errors of a cluster.

use std::path::PathBuf;
use std::time::Duration;

/// An error of a cluster: what was being done, and why it failed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The machine lacks something that cannot be installed automatically.
    #[error("{0}")]
    MissingPrerequisite(String),

    /// An invalid name, number of nodes or file of a cluster.
    #[error("{0}")]
    Invalid(String),

    /// Another process is using a cluster of this name.
    #[error("cluster {name} is in use by another process; wait until that process ends or choose another name")]
    InUse {
        /// The cluster's name.
        name: String,
    },

    /// No cluster of this name is running.
    #[error("cluster {name} is not running")]
    NotRunning {
        /// The cluster's name.
        name: String,
    },

    /// The cluster has no such node.
    #[error("cluster {cluster} has no node {node}")]
    NoSuchNode {
        /// The cluster's name.
        cluster: String,
        /// The node's name as the caller gave it.
        node: String,
    },

    /// A machine of the cluster is not running.
    #[error("{machine} is not running")]
    MachineDown {
        /// The machine's name.
        machine: String,
    },

    /// A container that does not exist or has no processes.
    #[error("container {container} of pod {namespace}/{pod} {why}")]
    NoSuchContainer {
        /// The pod's namespace.
        namespace: String,
        /// The pod's name.
        pod: String,
        /// The container's name.
        container: String,
        /// What is wrong with it.
        why: &'static str,
    },

    /// An operation of the operating system failed.
    #[error("{action}: {source}")]
    Io {
        /// What was being done.
        action: String,
        /// The operating system's error.
        source: std::io::Error,
    },

    /// A command failed.
    #[error("`{command}` failed ({status}): {output}")]
    Command {
        /// The command line, shortened.
        command: String,
        /// Its exit status.
        status: String,
        /// Its output.
        output: String,
    },

    /// Something did not happen in time.
    #[error("{problem} after {waited:?}{tail}")]
    TimedOut {
        /// What is still wrong.
        problem: String,
        /// How long the caller waited.
        waited: Duration,
        /// The last lines of the log that may explain it, or nothing.
        tail: String,
    },

    /// A certificate could not be created.
    #[error("creating the cluster's certificates: {0}")]
    Certificate(#[from] rcgen::Error),

    /// A request to the API server failed.
    #[error("{action}: {source}")]
    Kubernetes {
        /// What was being done.
        action: String,
        /// The client's error.
        source: Box<kube::Error>,
    },

    /// A state file of the cluster is damaged.
    #[error("parsing {path}: {source}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },

    /// A thread that was doing the work panicked.
    #[error("{0} panicked")]
    Panicked(&'static str),
}

/// The result of anything done with a cluster.
pub type Result<T, E = ClusterError> = std::result::Result<T, E>;

/// Adds what was being done to an error.
pub(crate) trait Context<T> {
    /// Adds the result of `action`, which is called only on failure.
    fn context<S: Into<String>>(self, action: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context<S: Into<String>>(self, action: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| ClusterError::Io { action: action().into(), source })
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn context<S: Into<String>>(self, action: impl FnOnce() -> S) -> Result<T> {
        self.map_err(std::io::Error::from).context(action)
    }
}

impl<T> Context<T> for Result<T, kube::Error> {
    fn context<S: Into<String>>(self, action: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| ClusterError::Kubernetes { action: action().into(), source: Box::new(source) })
    }
}

/// The end of a log for an error message. Empty if the log is missing or empty.
pub(crate) fn log_tail(path: &std::path::Path) -> String {
    const LINES: usize = 15;
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("; the end of {}:\n{}", path.display(), lines[lines.len().saturating_sub(LINES)..].join("\n"))
}
