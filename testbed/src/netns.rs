//! Opening sockets inside a network namespace.
//!
//! setns(2) changes the namespace of the calling thread only, and a socket stays in the namespace it was opened in. So a
//! short-lived thread enters the namespace, opens the socket and returns it.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use crate::error::{ClusterError, Context, Result};

/// How long connecting to a server on this machine may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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
