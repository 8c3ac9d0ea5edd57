//! Opens ports.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel queues until they are accepted. Linux allows no more by default (`net.core.somaxconn`, tcp(7)). With tokio's
/// 1,024, a client that reconnects a thousand times at once fills the queue, and the kubelet's probe has to repeat its SYN, a second later:
/// that is the whole timeout of a probe.
pub(super) const BACKLOG: u32 = 4096;

/// Listens on `addr`, with a queue that one client does not fill easily.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted process can listen at once, as with `TcpListener::bind`.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}
