//! Over real TLS on the loopback; the drain over in-memory streams in paused time.

mod drain;
mod hostile;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1::SendRequest, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::{
    shutdown::{Shutdown, ShutdownArgs},
    tls::{
        ServerIdentity, client_config,
        issued::{NAME, issue},
    },
};

/// Longer than anything here takes: a timeout of this length is a failure.
const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(50);

/// More bytes than the kernel buffers for a client that reads nothing.
const LARGE: usize = 32 * 1024 * 1024;

struct TestServer {
    addr: SocketAddr,
    connector: TlsConnector,
    shutdown: Shutdown,
    metrics: Metrics,
    /// Receives each request for `/wait`; the response is sent when the test sends the unit.
    waiting: mpsc::Receiver<tokio::sync::oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

async fn server(limits: Limits, drain: ShutdownArgs) -> TestServer {
    let issued = issue();
    let identity = ServerIdentity::new();
    identity.set_pem(&issued.chain, &issued.key).expect("a pair");
    let connector = TlsConnector::from(Arc::new(client_config(&issued.ca).expect("a CA")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let addr = listener.local_addr().expect("bound");
    let (shutdown, metrics) = (Shutdown::manual(), Metrics::default());
    let (arrived, waiting) = mpsc::channel(8);
    let service = service_fn(move |request: Request<Incoming>| {
        let arrived = arrived.clone();
        async move {
            if request.uri().path() == "/wait" {
                let (go_on, released) = tokio::sync::oneshot::channel();
                arrived.send(go_on).await.expect("the test receives it");
                // A test that never releases the request drops the sender.
                let _ = released.await;
            }
            match request.uri().path() {
                "/denied" => return Response::builder().status(StatusCode::FORBIDDEN).body(Full::new(Bytes::new())),
                "/broken" => {
                    return Response::builder().status(StatusCode::BAD_GATEWAY).body(Full::new(Bytes::new()));
                }
                "/large" => return Ok(Response::new(Full::new(Bytes::from(vec![b'x'; LARGE])))),
                _ => {}
            }
            let (status, body) = match read_body(request.into_body(), limits.max_body).await {
                Ok(body) => (StatusCode::OK, body),
                Err(error) => (StatusCode::PAYLOAD_TOO_LARGE, Bytes::from(error.to_string())),
            };
            Response::builder().status(status).body(Full::new(body))
        }
    });
    let server = Server::https(listener, identity.server_config(), limits, metrics.clone());
    let task = tokio::spawn(server.run_until(service, shutdown.clone(), drain));
    TestServer { addr, connector, shutdown, metrics, waiting, task }
}

impl TestServer {
    async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.addr).await?;
        self.connector.connect(ServerName::try_from(NAME).expect("a valid name"), stream).await
    }

    /// Like [`connect`](Self::connect), from the address 127.0.0.`host`.
    async fn connect_from(&self, host: u8) -> io::Result<TlsStream<TcpStream>> {
        let stream = connect_from(host, self.addr).await?;
        self.connector.connect(ServerName::try_from(NAME).expect("a valid name"), stream).await
    }

    async fn client_from(&self, host: u8) -> SendRequest<Full<Bytes>> {
        let stream = self.connect_from(host).await.expect("the server accepts");
        let (client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("no I/O yet");
        tokio::spawn(connection);
        client
    }

    async fn client(&self) -> SendRequest<Full<Bytes>> {
        self.client_and_end().await.0
    }

    /// A client, and a task that ends with its connection.
    async fn client_and_end(&self) -> (SendRequest<Full<Bytes>>, JoinHandle<()>) {
        let stream = self.connect().await.expect("the server accepts");
        let (client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("no I/O yet");
        let end = tokio::spawn(async {
            // An error ends the connection as well.
            let _ = connection.await;
        });
        (client, end)
    }
}

/// Connects from the address 127.0.0.`host`, which is another source than 127.0.0.1.
async fn connect_from(host: u8, addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0)))?;
    socket.connect(addr).await
}

const NO_DRAIN: ShutdownArgs = ShutdownArgs { drain_delay: Duration::ZERO, drain_timeout: LONG };

fn post(path: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::post(path).header("host", NAME).body(Full::new(Bytes::from_static(body.as_bytes()))).expect("valid")
}

async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

/// Waits until the peer has closed the connection.
async fn closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    // A reset closes the connection as well.
    let _ = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("the server closes the connection");
}

#[tokio::test]
async fn requests_share_a_kept_alive_connection() {
    let server = server(Limits::default(), NO_DRAIN).await;
    let mut client = server.client().await;
    for body in ["one", "two"] {
        let response = client.send_request(post("/", body)).await.expect("an answer");
        assert_eq!(text(response).await, body);
    }
    assert_eq!(server.metrics.connections(), 1);
}

#[tokio::test]
async fn a_body_above_the_limit_gets_the_response_of_the_service() {
    let server = server(Limits { max_body: 4, ..Limits::default() }, NO_DRAIN).await;
    let response = server.client().await.send_request(post("/", "12345")).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_slow_handshake_is_closed() {
    let server = server(Limits { handshake_timeout: SHORT, ..Limits::default() }, NO_DRAIN).await;
    let mut silent = TcpStream::connect(server.addr).await.expect("the server accepts");
    closed(&mut silent).await;
    assert_eq!(server.metrics.refusals(Refusal::HandshakeTimeout), 1);
}

#[tokio::test]
async fn a_connection_without_tls_is_closed() {
    let server = server(Limits::default(), NO_DRAIN).await;
    let mut plain = TcpStream::connect(server.addr).await.expect("the server accepts");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    closed(&mut plain).await;
    assert_eq!(server.metrics.refusals(Refusal::Handshake), 1);
}

#[tokio::test]
async fn a_slow_first_head_is_closed() {
    let server = server(Limits { header_timeout: SHORT, ..Limits::default() }, NO_DRAIN).await;
    let mut slow = server.connect().await.expect("the server accepts");
    slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.expect("sent");
    closed(&mut slow).await;
    assert_eq!(server.metrics.refusals(Refusal::HeaderTimeout), 1);
}

#[tokio::test]
async fn an_idle_connection_outlives_the_header_timeout_and_ends_with_the_idle_timeout() {
    let limits = Limits { header_timeout: SHORT, idle_timeout: SHORT * 4, ..Limits::default() };
    let server = server(limits, NO_DRAIN).await;
    let (mut client, ended) = server.client_and_end().await;
    let idle_since = tokio::time::Instant::now();
    let _ = text(client.send_request(post("/", "")).await.expect("an answer")).await;
    timeout(LONG, ended).await.expect("the server closes the connection").expect("no panic");
    assert!(idle_since.elapsed() >= limits.idle_timeout, "closed after {:?}", idle_since.elapsed());
    assert_eq!(server.metrics.refusals(Refusal::HeaderTimeout), 0);
}

#[tokio::test]
async fn if_every_connection_has_a_request_in_flight_only_one_of_our_own_gets_in() {
    let mut server = server(Limits { max_connections: 1, ..Limits::default() }, NO_DRAIN).await;
    let mut busy = server.client_from(2).await;
    let answer = tokio::spawn(busy.send_request(post("/wait", "")));
    let go_on = server.waiting.recv().await.expect("the request arrives");
    assert!(server.connect_from(3).await.is_err());
    assert_eq!(server.metrics.refusals(Refusal::Limit), 1);
    // The self-beat is a connection of our own.
    let response = server.client().await.send_request(post("/", "")).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    go_on.send(()).expect("the request is in flight");
    assert_eq!(answer.await.expect("no panic").expect("an answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn a_drain_finishes_the_request_in_flight_and_closes_idle_connections() {
    let mut server = server(Limits::default(), NO_DRAIN).await;
    let mut idle = server.connect().await.expect("the server accepts");
    let mut client = server.client().await;
    let answer = tokio::spawn(client.send_request(post("/wait", "done")));
    let go_on = server.waiting.recv().await.expect("the request arrives");

    server.shutdown.trigger();
    closed(&mut idle).await;
    assert!(TcpStream::connect(server.addr).await.is_err(), "the listener is closed");
    go_on.send(()).expect("the request is in flight");
    let response = answer.await.expect("no panic").expect("an answer");
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(text(response).await, "done");
    timeout(LONG, server.task).await.expect("the drain ends").expect("no panic");
    assert_eq!(server.metrics.connections(), 0);
}

#[tokio::test]
async fn a_request_in_flight_at_the_end_of_the_drain_is_aborted() {
    let mut server = server(Limits::default(), ShutdownArgs { drain_timeout: SHORT, ..NO_DRAIN }).await;
    let mut client = server.client().await;
    let answer = tokio::spawn(client.send_request(post("/wait", "")));
    let _held = server.waiting.recv().await.expect("the request arrives");
    server.shutdown.trigger();
    timeout(LONG, server.task).await.expect("the drain ends").expect("no panic");
    assert!(answer.await.expect("no panic").is_err());
}

/// Waits until this many connections rest.
async fn resting(server: &TestServer, connections: i64) {
    timeout(LONG, async {
        while server.metrics.resting() != connections {
            sleep(SHORT / 10).await;
        }
    })
    .await
    .expect("as many connections rest");
}

#[tokio::test]
async fn a_connection_rests_between_requests() {
    let server = server(Limits { rest_after: SHORT, ..Limits::default() }, NO_DRAIN).await;
    let mut client = server.client().await;
    for body in ["one", "two", "three"] {
        let response = client.send_request(post("/", body)).await.expect("an answer");
        assert_eq!(text(response).await, body);
        resting(&server, 1).await;
    }
    assert_eq!(server.metrics.connections(), 1);
}

#[tokio::test]
async fn a_connection_with_a_request_in_flight_or_without_any_request_does_not_rest() {
    let mut server = server(Limits { rest_after: SHORT, ..Limits::default() }, NO_DRAIN).await;
    let _silent = server.connect().await.expect("the server accepts");
    let mut client = server.client().await;
    let answer = tokio::spawn(client.send_request(post("/wait", "done")));
    let go_on = server.waiting.recv().await.expect("the request arrives");
    sleep(4 * SHORT).await;
    assert_eq!(server.metrics.resting(), 0);
    go_on.send(()).expect("the request is in flight");
    assert_eq!(text(answer.await.expect("no panic").expect("an answer")).await, "done");
    resting(&server, 1).await;
}

#[tokio::test]
async fn a_head_in_two_parts_with_a_rest_between_them_is_served() {
    const FIRST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\none";
    const SECOND: &str = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\r\ntwo";
    let server = server(Limits { rest_after: SHORT, ..Limits::default() }, NO_DRAIN).await;
    let (begin, end) = SECOND.split_at(20);
    let mut stream = server.connect().await.expect("the server accepts");
    // The part that is read together with the first request is kept while the connection rests.
    stream.write_all(format!("{FIRST}{begin}").as_bytes()).await.expect("sent");
    resting(&server, 1).await;
    stream.write_all(end.as_bytes()).await.expect("sent");
    let mut answers = String::new();
    timeout(LONG, stream.read_to_string(&mut answers))
        .await
        .expect("the server closes the connection")
        .expect("no reset");
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert!(answers.ends_with("two"), "{answers}");
}

#[tokio::test]
async fn a_connection_that_rests_ends_with_the_idle_timeout_or_the_drain() {
    let limits = Limits { rest_after: SHORT, idle_timeout: SHORT * 8, ..Limits::default() };
    for drains in [false, true] {
        let server = server(limits, NO_DRAIN).await;
        let (mut client, ended) = server.client_and_end().await;
        let _ = text(client.send_request(post("/", "")).await.expect("an answer")).await;
        resting(&server, 1).await;
        if drains {
            server.shutdown.trigger();
        }
        timeout(LONG, ended).await.expect("the server closes the connection").expect("no panic");
        resting(&server, 0).await;
    }
}

/// One request over plain HTTP.
async fn get(addr: SocketAddr) -> Response<Incoming> {
    let stream = TcpStream::connect(addr).await.expect("the server accepts");
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("no I/O yet");
    tokio::spawn(connection);
    client.send_request(post("/", "two")).await.expect("an answer")
}

#[tokio::test]
async fn plain_http_is_served_and_its_idle_connections_rest() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let addr = listener.local_addr().expect("bound");
    let limits = Limits { rest_after: SHORT, idle_timeout: SHORT * 8, ..Limits::few_clients() };
    let service = service_fn(async |request: Request<Incoming>| {
        let body = read_body(request.into_body(), 3).await?;
        Ok::<_, BodyError>(Response::new(Full::new(body)))
    });
    tokio::spawn(Server::http(listener, limits).run(service));
    let mut stream = TcpStream::connect(addr).await.expect("the server accepts");
    let request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\none";
    let mut response = [0; 1024];
    for _ in 0..2 {
        stream.write_all(request).await.expect("sent");
        let length = timeout(LONG, stream.read(&mut response)).await.expect("in time").expect("no reset");
        assert!(response[..length].starts_with(b"HTTP/1.1 200 OK"));
        // Longer than a connection is served without a request, shorter than the idle timeout.
        sleep(4 * SHORT).await;
    }
    closed(&mut stream).await;
    assert_eq!(text(get(addr).await).await, "two");
}
