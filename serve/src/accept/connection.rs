//! One connection, from its handshake to its end.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::Service,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{Limits, Metrics, Refusal};

/// The most that is buffered of a connection, in bytes; a head has to fit into it. A body passes through in parts. hyper's default
/// of some 400 kB would let clients hold a gigabyte by heads that they never finish.
pub(super) const BUFFER: usize = 64 * 1024;

/// What one connection needs to be served.
pub(super) struct Connection<S> {
    pub(super) limits: Limits,
    pub(super) service: S,
    /// The server stops: finish the request in flight and close.
    pub(super) ending: CancellationToken,
    pub(super) metrics: Metrics,
}

impl<S, B> Connection<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) async fn run(self, stream: TcpStream, acceptor: TlsAcceptor) {
        let _counted = self.metrics.open_connection();
        match timeout(self.limits.handshake_timeout, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                self.metrics.refused(Refusal::Handshake);
            }
            Err(_) => self.metrics.refused(Refusal::HandshakeTimeout),
        }
    }

    async fn serve(self, stream: TlsStream<TcpStream>) {
        let Self { limits, service, ending, metrics } = self;
        let heard = Arc::new(AtomicBool::new(false));
        let service = Hearing { service, heard: Arc::clone(&heard) };
        // hyper's own limit also runs while a connection is idle, so it is the one on idleness.
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.idle_timeout)
                .max_buf_size(BUFFER)
                .serve_connection(TokioIo::new(stream), service)
        );
        let mut first_head = pin!(sleep(limits.header_timeout));
        let (mut awaited, mut ends) = (true, false);
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "connection broke");
                    }
                    return;
                }
                () = first_head.as_mut(), if awaited => {
                    awaited = false;
                    if !heard.load(Ordering::Relaxed) {
                        metrics.refused(Refusal::HeaderTimeout);
                        return;
                    }
                }
                () = ending.cancelled(), if !ends => {
                    ends = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Notes that a request has been heard.
struct Hearing<S> {
    service: S,
    heard: Arc<AtomicBool>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Hearing<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.heard.store(true, Ordering::Relaxed);
        self.service.call(request)
    }
}
