//! What plays the reaper: a real TLS and HTTP server on loopback, whose every answer the test gives by hand.

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

use crate::soon;

/// Asks for the next beat after 1 ms.
const GO_ON: BeatReply = BeatReply { next_in_ms: 1, command: Command::Continue, ca: None };

/// A server that stops, connections and all, when it is dropped.
pub(crate) struct Reaper {
    pub(crate) address: SocketAddr,
    events: mpsc::UnboundedReceiver<Event>,
    server: JoinHandle<()>,
}

/// What the server saw.
pub(crate) enum Event {
    /// A beat that waits for its answer.
    Beat(Exchange),
    /// A TLS handshake that failed.
    Distrusted,
    /// The end of a connection.
    Closed,
}

/// A beat that waits for its answer.
pub(crate) struct Exchange {
    /// Counts the connections of this server up from 0.
    pub(crate) connection: u64,
    /// The `Authorization` header.
    pub(crate) authorization: String,
    pub(crate) beat: Beat,
    answer: oneshot::Sender<Response<Full<Bytes>>>,
}

impl Reaper {
    /// Listens on `address`; port 0 takes a free one.
    pub(crate) async fn start(address: SocketAddr, tls: Arc<ServerConfig>) -> Self {
        let listener = soon(bind(address)).await;
        let address = listener.local_addr().expect("it is bound");
        let (sender, events) = mpsc::unbounded_channel();
        let server = tokio::spawn(serve(listener, TlsAcceptor::from(tls), sender));
        Self { address, events, server }
    }

    /// The next thing that happens.
    pub(crate) async fn event(&mut self) -> Event {
        soon(self.events.recv()).await.expect("the server runs")
    }

    /// The next beat; connections may come and go before it.
    pub(crate) async fn beat(&mut self) -> Exchange {
        loop {
            if let Event::Beat(exchange) = self.event().await {
                return exchange;
            }
        }
    }

    /// Whether nothing has happened that the test was not told of yet.
    pub(crate) fn is_quiet(&self) -> bool {
        self.events.is_empty()
    }

    /// Stops listening and cuts every connection. The address can be bound again when this returns.
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
    pub(crate) fn go_on(self) {
        self.reply(&GO_ON);
    }

    /// Asks for the next beat after 1 ms and closes the connection.
    pub(crate) fn go_on_elsewhere(self) {
        let mut response = response(&GO_ON);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        self.respond(response);
    }

    pub(crate) fn reply(self, reply: &BeatReply) {
        self.respond(response(reply));
    }

    pub(crate) fn answer(self, status: StatusCode, body: String) {
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        self.respond(response);
    }

    fn respond(self, response: Response<Full<Bytes>>) {
        // The sidecar may have gone meanwhile.
        let _ = self.answer.send(response);
    }
}

fn response(reply: &BeatReply) -> Response<Full<Bytes>> {
    Response::new(Full::from(serde_json::to_string(reply).expect("a reply is JSON")))
}

/// Binds `address`. A process that another test starts at this moment holds our sockets from its fork to its exec, so one
/// that was closed can be in use for some microseconds still.
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
            let end = match tls.accept(tcp).await {
                Err(_) => Event::Distrusted,
                Ok(stream) => {
                    let service = service_fn(|request| exchange(request, connection, &events));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    Event::Closed
                }
            };
            let _ = events.send(end);
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
    let (answer, answered) = oneshot::channel();
    let _ = events.send(Event::Beat(Exchange { connection, authorization, beat, answer }));
    // A test that gives no answer leaves the sidecar waiting.
    match answered.await {
        Ok(response) => Ok(response),
        Err(_) => std::future::pending().await,
    }
}
