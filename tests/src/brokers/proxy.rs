//! A TCP proxy that can freeze its connections: bytes stop, and no end of the connection is sent, as when a cable is pulled.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Forwards to a port of this machine.
pub struct Proxy {
    /// The port that it listens on.
    pub port: u16,
    frozen: watch::Sender<bool>,
}

impl Proxy {
    /// Listens on a free port of the loopback.
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (frozen, receiver) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, (Ipv4Addr::LOCALHOST, target).into(), receiver.clone()));
            }
        });
        Self { port, frozen }
    }

    /// Freezes the connections of now, for good, and those that are opened until [`Self::thaw`].
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    /// Forwards the connections that are opened from now on.
    pub fn thaw(&self) {
        self.frozen.send_replace(false);
    }
}

async fn forward(mut client: TcpStream, target: SocketAddr, mut frozen: watch::Receiver<bool>) {
    if *frozen.borrow_and_update() {
        return silence().await;
    }
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    for stream in [&client, &server] {
        // It may have ended already.
        let _ = stream.set_nodelay(true);
    }
    let frozen = tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => false,
        _ = frozen.wait_for(|frozen| *frozen) => true,
    };
    if frozen {
        silence().await;
    }
}

/// Keeps the sockets of its caller open until the test ends.
async fn silence() {
    std::future::pending::<()>().await;
}
