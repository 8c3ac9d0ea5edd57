//! What can go wrong with a cluster.

use std::path::PathBuf;
use std::time::Duration;

/// An error of the test cluster: what was being done, and why it failed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The machine lacks something that this program cannot provide.
    #[error("{0}")]
    Lacking(String),

    /// A name or number that no cluster can have.
    #[error("{0}")]
    Invalid(String),

    /// Another process is using a cluster of this name.
    #[error("cluster {name} is in use by another process; choose another name or wait for it to end")]
    InUse {
        /// The cluster's name.
        name: String,
    },

    /// There is no running cluster of this name.
    #[error("there is no cluster {name}; start it with `cargo xtask cluster up --name {name}`")]
    NotRunning {
        /// The cluster's name.
        name: String,
    },

    /// The cluster has no such node.
    #[error("cluster {cluster} has no node {node}")]
    NoSuchNode {
        /// The cluster's name.
        cluster: String,
        /// The node's name as it was asked for.
        node: String,
    },

    /// A machine of the cluster is not running.
    #[error("{machine} is not running")]
    MachineDown {
        /// The machine's name.
        machine: String,
    },

    /// A pod or container that is not there or has no processes.
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

    /// A file or another thing of the operating system.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The operating system's answer.
        source: std::io::Error,
    },

    /// A command that failed.
    #[error("`{command}` failed ({status}): {output}")]
    Command {
        /// The command line, shortened.
        command: String,
        /// How it ended.
        status: String,
        /// What it wrote.
        output: String,
    },

    /// Something did not happen in time.
    #[error("{what} after {waited:?}{tail}")]
    TimedOut {
        /// What was waited for, as a statement of what is wrong.
        what: String,
        /// How long it was waited for.
        waited: Duration,
        /// The last lines of the log that tell why, or nothing.
        tail: String,
    },

    /// A certificate could not be made.
    #[error("making the cluster's certificates: {0}")]
    Certificate(#[from] rcgen::Error),

    /// The API server's answer.
    #[error("{doing}: {source}")]
    Kubernetes {
        /// What was being done.
        doing: String,
        /// The client's error.
        source: Box<kube::Error>,
    },

    /// A file of ours that does not hold what it should.
    #[error("reading {path}: {source}")]
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

/// Says what was being done when an operation of the system failed.
pub(super) trait Doing<T> {
    /// Names what was being done; `doing` runs only on failure.
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| ClusterError::Io { doing: doing().into(), source })
    }
}

impl<T> Doing<T> for nix::Result<T> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(std::io::Error::from).doing(doing)
    }
}

impl<T> Doing<T> for Result<T, kube::Error> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| ClusterError::Kubernetes { doing: doing().into(), source: Box::new(source) })
    }
}

/// The end of a log, for an error message; empty when there is none.
pub(super) fn log_tail(path: &std::path::Path) -> String {
    const LINES: usize = 15;
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("; the end of {}:\n{}", path.display(), lines[lines.len().saturating_sub(LINES)..].join("\n"))
}
