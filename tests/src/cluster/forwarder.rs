//! Brings a port out of the cluster's network namespace to a port on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::thread::JoinHandle;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::error::{ClusterError, Doing, Result};
use super::netns;

/// A running forwarder; it ends when this is dropped.
///
/// It has a thread and a runtime of its own: the runtime of one test ends with that test, the cluster may not.
pub struct Forwarder {
    port: u16,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Forwards a free port on loopback to `target` in the network namespace at `namespace`.
    pub(super) fn start(namespace: PathBuf, target: SocketAddr) -> Result<Self> {
        let doing = || "starting a forwarder into the cluster";
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().doing(doing)?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).doing(doing)?;
        let port = listener.local_addr().doing(doing)?.port();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            runtime.block_on(stopped.run_until_cancelled(accept(listener, namespace, target)));
            runtime.shutdown_background();
        });
        Ok(Self { port, stop, thread: Some(thread) })
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // It only moves bytes: if it panicked there is nothing left to tidy up.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, namespace: PathBuf, target: SocketAddr) {
    loop {
        // A failed accept (too many open files) leaves the client to try again.
        let Ok((client, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        // A client whose server cannot be reached sees its connection closed, as it would through any proxy.
        tokio::spawn(join(client, namespace.clone(), target));
    }
}

async fn join(mut client: TcpStream, namespace: PathBuf, target: SocketAddr) -> Result<()> {
    let server = tokio::task::spawn_blocking(move || netns::connect(&namespace, target))
        .await
        .map_err(|_| ClusterError::Panicked("a connection into the cluster"))??;
    let doing = || "forwarding into the cluster";
    server.set_nonblocking(true).doing(doing)?;
    let mut server = TcpStream::from_std(server).doing(doing)?;
    client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).doing(doing)?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop).doing(doing)
}
