//! Working inside a network namespace from this process.
//!
//! Only the calling thread changes its namespace, and a socket stays in the one it was opened in. So a short-lived
//! thread opens it there and hands it back.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use super::error::{ClusterError, Doing, Result};

/// How long a connection inside one machine may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Runs `work` on a thread inside the network namespace at `path`.
pub(super) fn inside<T: Send>(path: &Path, work: impl FnOnce() -> io::Result<T> + Send) -> Result<T> {
    let doing = || format!("working in network namespace {}", path.display());
    let file = File::open(path).doing(doing)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            work()
        });
        thread.join().map_err(|_| ClusterError::Panicked("a thread in a network namespace"))?.doing(doing)
    })
}

/// Connects to an address as seen from inside the namespace.
pub(super) fn connect(path: &Path, address: SocketAddr) -> Result<TcpStream> {
    inside(path, || TcpStream::connect_timeout(&address, CONNECT))
}

/// Listens inside the namespace.
pub(super) fn listen(path: &Path, address: Ipv4Addr, port: u16) -> Result<TcpListener> {
    inside(path, || TcpListener::bind((address, port)))
}
