//! Forwards a loopback port of this machine to an address in the cluster's network namespace.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::thread::JoinHandle;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::error::{ClusterError, Context, Result};
use crate::netns;

/// A running forwarder. It stops when this is dropped.
///
/// It has its own thread and runtime, because a cluster may outlive the runtime of the test that booted it.
pub struct Forwarder {
    port: u16,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Forwards a free loopback port to `target` in the network namespace at `namespace`.
    pub(crate) fn start(namespace: PathBuf, target: SocketAddr) -> Result<Self> {
        let action = || "starting a forwarder into the cluster";
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context(action)?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).context(action)?;
        let port = listener.local_addr().context(action)?.port();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            runtime.block_on(stopped.run_until_cancelled(accept(listener, namespace, target)));
            runtime.shutdown_background();
        });
        Ok(Self { port, stop, thread: Some(thread) })
    }

    /// The loopback port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // The thread owns nothing that would need cleaning up after a panic.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, namespace: PathBuf, target: SocketAddr) {
    loop {
        // After a failed accept (too many open files) the client can try again.
        let Ok((client, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        // If the target cannot be reached, the client's connection is closed, as by any proxy.
        tokio::spawn(join(client, namespace.clone(), target));
    }
}

async fn join(mut client: TcpStream, namespace: PathBuf, target: SocketAddr) -> Result<()> {
    let server = tokio::task::spawn_blocking(move || netns::connect(&namespace, target))
        .await
        .map_err(|_| ClusterError::Panicked("a connection into the cluster"))??;
    let action = || "forwarding into the cluster";
    server.set_nonblocking(true).context(action)?;
    let mut server = TcpStream::from_std(server).context(action)?;
    client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).context(action)?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop).context(action)
}
