//! Opening sockets inside a network namespace.
//!
//! setns(2) changes the namespace of the calling thread only, and a socket stays in the namespace it was opened in. So a
//! short-lived thread enters the namespace, opens the socket and returns it.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use crate::error::{ClusterError, Context, Result};

/// How long connecting to a server on this machine may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The network namespace of a cluster's control plane. Pods and nodes reach what listens on its address.
#[derive(Clone, Debug)]
pub struct NetworkNamespace {
    path: PathBuf,
}

impl NetworkNamespace {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The command that runs `program` in it. The process is the program itself, so its parent can kill it.
    pub fn program(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path.display())).arg(program);
        command
    }

    /// Connects to an address as seen from inside.
    pub fn connect(&self, address: SocketAddr) -> Result<TcpStream> {
        connect(&self.path, address)
    }
}

/// Runs `work` on a thread inside the network namespace at `path`.
pub(crate) fn inside<T: Send>(path: &Path, work: impl FnOnce() -> io::Result<T> + Send) -> Result<T> {
    let action = || format!("working in network namespace {}", path.display());
    let file = File::open(path).context(action)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            work()
        });
        thread.join().map_err(|_| ClusterError::Panicked("a thread in a network namespace"))?.context(action)
    })
}

/// Connects to an address as seen from inside the namespace.
pub(crate) fn connect(path: &Path, address: SocketAddr) -> Result<TcpStream> {
    inside(path, || TcpStream::connect_timeout(&address, CONNECT_TIMEOUT))
}

/// Listens inside the namespace.
pub(crate) fn listen(path: &Path, address: Ipv4Addr, port: u16) -> Result<TcpListener> {
    inside(path, || TcpListener::bind((address, port)))
}
