//! HTTPS for clients that may be slow, many or hostile: HTTP/1.1 only, with a limit on everything a client can hold.
//!
//! A connection passes through: accepted (or refused at once above the limit) → handshake in time → head of the first
//! request in time → requests, with rests and a limit on idleness between them → closed by the client, by idleness or by the drain.
//! What a request's body may hold and how long it may take is [`read_body`]'s, what all of them may hold is a [`Budget`]'s.

mod body;
mod connection;
mod metrics;
mod resting;

use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    service::Service,
};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::connection::Connection;
pub use self::{
    body::{BODY_TIMEOUT, BodyError, Budget, Held, read_body},
    metrics::{Metrics, Refusal},
};
use crate::shutdown::{Shutdown, ShutdownArgs};

/// How long accepting pauses after an error that will not go away by itself at once, such as EMFILE.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What clients may hold of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time, those in a handshake among them; one more is closed at once.
    pub max_connections: usize,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long the head of a connection's first request may take.
    pub header_timeout: Duration,
    /// How long a connection may be idle between requests. The head of a later request has to arrive within it too:
    /// a client that dawdles over it holds no more than one that is idle.
    pub idle_timeout: Duration,
    /// After how long without a request what serves a connection is given up until the next one; at last after twice that. Should be
    /// longer than the pauses of a busy client.
    pub rest_after: Duration,
    /// How long the peer may leave what we sent unacknowledged (`TCP_USER_TIMEOUT`, tcp(7)): ends connections to clients
    /// that are gone or do not read.
    pub send_timeout: Duration,
    /// The most a request's body may hold, in bytes. Only carried here: a service passes it to [`Budget::read`].
    pub max_body: usize,
    /// The most that large bodies may hold together, in bytes. Only carried here: a service makes a [`Budget`] of it.
    pub max_bodies: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(90),
            rest_after: Duration::from_secs(1),
            send_timeout: Duration::from_secs(30),
            // What the API server itself takes (apiserver's MaxRequestBodyBytes).
            max_body: 3 * 1024 * 1024,
            max_bodies: 32 * 1024 * 1024,
        }
    }
}

/// Serves until the shutdown is requested, and drains: accepts on for the drain delay, then stops accepting and lets each
/// connection finish the request in flight (answered with `Connection: close`), for the drain timeout at most.
/// Returns when the last connection has ended or was cut off.
pub async fn serve_https<S, B>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    limits: Limits,
    service: S,
    shutdown: Shutdown,
    drain: ShutdownArgs,
    metrics: Metrics,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let acceptor = TlsAcceptor::from(tls);
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let (ending, cut) = (CancellationToken::new(), CancellationToken::new());
    let connections = TaskTracker::new();

    let accepting = async {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    metrics.refused(Refusal::Accept);
                    if !is_of_one_connection(&error) {
                        tracing::warn!(%error, "cannot accept connections");
                        sleep(ACCEPT_PAUSE).await;
                    }
                    continue;
                }
            };
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                metrics.refused(Refusal::Limit);
                continue;
            };
            set_options(&stream, limits.send_timeout);
            let connection =
                Connection { limits, service: service.clone(), ending: ending.clone(), metrics: metrics.clone() };
            let (acceptor, cut) = (acceptor.clone(), cut.clone());
            connections.spawn(async move {
                cut.run_until_cancelled(connection.run(stream, acceptor)).await;
                drop(slot);
            });
        }
    };
    let drained = async {
        shutdown.requested().await;
        sleep(drain.drain_delay).await;
    };
    tokio::select! {
        () = accepting => {} // never
        () = drained => {}
    }

    drop(listener);
    ending.cancel();
    connections.close();
    if timeout(drain.drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "cutting off requests that outlast --drain-timeout");
        cut.cancel();
        connections.wait().await;
    }
}

/// Whether an error of accept(2) concerns one connection, so that the next may well succeed.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Neither option is needed for a correct answer, so a failure is only logged.
fn set_options(stream: &TcpStream, send_timeout: Duration) {
    let socket = socket2::SockRef::from(stream);
    if let Err(error) = stream.set_nodelay(true).and_then(|()| socket.set_tcp_user_timeout(Some(send_timeout))) {
        tracing::debug!(%error, "cannot set options of a connection");
    }
}

#[cfg(test)]
mod tests;
