//! A fake reaper: a real TLS and HTTP server on loopback. The test gives every reply.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use jobwarden_common::{
    beat::{Beat, BeatReply, BeatRequest, Command, Phase},
    names::route,
};
use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::timeout::with_timeout;

/// Asks for the next beat after 1 ms.
const NEXT_BEAT_IN_1_MS: BeatReply = BeatReply { next_in_ms: 1, command: Command::Continue, ca: None };

/// A server. Dropping it stops it and closes its connections.
pub(crate) struct Reaper {
    pub(crate) address: SocketAddr,
    events: mpsc::UnboundedReceiver<Event>,
    server: JoinHandle<()>,
}

/// What happened at the server.
pub(crate) enum Event {
    /// A beat that waits for its reply.
    Beat(Exchange),
    /// A TLS handshake that failed.
    HandshakeFailed,
    /// A connection ended.
    Closed,
}

/// A beat that waits for its reply.
pub(crate) struct Exchange {
    /// Counts the connections of this server up from 0.
    pub(crate) connection: u64,
    /// The `Authorization` header.
    pub(crate) authorization: String,
    pub(crate) beat: Beat,
    response: oneshot::Sender<Response<Full<Bytes>>>,
}

impl Reaper {
    /// Listens on `address`; port 0 takes a free one.
    pub(crate) async fn start(address: SocketAddr, tls: Arc<ServerConfig>) -> Self {
        let listener = with_timeout(bind(address)).await;
        let address = listener.local_addr().expect("it is bound");
        let (sender, events) = mpsc::unbounded_channel();
        let server = tokio::spawn(serve(listener, TlsAcceptor::from(tls), sender));
        Self { address, events, server }
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Event {
        with_timeout(self.events.recv()).await.expect("the server runs")
    }

    /// The next beat; connection events before it are skipped.
    pub(crate) async fn beat(&mut self) -> Exchange {
        loop {
            if let Event::Beat(exchange) = self.event().await {
                return exchange;
            }
        }
    }

    /// Whether no unread event is left.
    pub(crate) fn has_no_events(&self) -> bool {
        self.events.is_empty()
    }

    /// Stops listening and closes every connection. The address can be bound again when this returns.
    pub(crate) async fn stop(mut self) -> SocketAddr {
        self.server.abort();
        let _ = (&mut self.server).await;
        self.address
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Exchange {
    /// Checks that this is beat number `seq` of a running pod.
    pub(crate) fn expect_running(self, seq: u64) -> Self {
        assert_eq!(self.beat, Beat { seq, phase: Phase::Running });
        self
    }

    /// Asks for the next beat after 1 ms.
    pub(crate) fn accept(self) {
        self.reply(&NEXT_BEAT_IN_1_MS);
    }

    /// Asks for the next beat after 1 ms and closes the connection.
    pub(crate) fn accept_and_close(self) {
        let mut response = response(&NEXT_BEAT_IN_1_MS);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        self.respond(response);
    }

    /// Replies 200 with `reply`.
    pub(crate) fn reply(self, reply: &BeatReply) {
        self.respond(response(reply));
    }

    /// Replies with `status` and `body`.
    pub(crate) fn reply_status(self, status: StatusCode, body: String) {
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        self.respond(response);
    }

    fn respond(self, response: Response<Full<Bytes>>) {
        // The sidecar may have exited meanwhile.
        let _ = self.response.send(response);
    }
}

fn response(reply: &BeatReply) -> Response<Full<Bytes>> {
    Response::new(Full::from(serde_json::to_string(reply).expect("a reply is JSON")))
}

/// Binds `address`. A process that another test is starting inherits this process's sockets from its fork to its exec, so the
/// address of a closed socket can stay in use for some microseconds.
async fn bind(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => tokio::task::yield_now().await,
            bound => return bound.expect("loopback can be bound"),
        }
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, events: mpsc::UnboundedSender<Event>) {
    let mut connections = JoinSet::new();
    for connection in 0.. {
        let (tcp, _) = listener.accept().await.expect("loopback accepts");
        let (tls, events) = (tls.clone(), events.clone());
        connections.spawn(async move {
            let event = match tls.accept(tcp).await {
                Err(_) => Event::HandshakeFailed,
                Ok(stream) => {
                    let service = service_fn(|request| exchange(request, connection, &events));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    Event::Closed
                }
            };
            let _ = events.send(event);
        });
    }
}

async fn exchange(
    request: Request<Incoming>,
    connection: u64,
    events: &mpsc::UnboundedSender<Event>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.uri().path(), route::BEATS);
    let authorization = request.headers()[AUTHORIZATION].to_str().expect("ASCII").to_owned();
    let body = request.into_body().collect().await.expect("a whole body").to_bytes();
    let BeatRequest { beats } = serde_json::from_slice(&body).expect("a beat request");
    let [beat] = beats.try_into().expect("a sidecar sends one beat a request");
    let (respond, responded) = oneshot::channel();
    let _ = events.send(Event::Beat(Exchange { connection, authorization, beat, response: respond }));
    // A test that gives no reply leaves the sidecar waiting.
    match responded.await {
        Ok(response) => Ok(response),
        Err(_) => std::future::pending().await,
    }
}
