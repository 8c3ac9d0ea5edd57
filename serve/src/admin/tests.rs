use std::time::Duration;

use http_body_util::BodyExt as _;
use rstest::rstest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    time::timeout,
};

use super::*;

async fn get(path: &str, readiness: &Readiness, shutdown: &Shutdown) -> (u16, String) {
    let response = respond(&Method::GET, path, readiness, shutdown);
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body in memory").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test]
async fn a_process_is_ready_when_all_its_conditions_are() {
    let (readiness, shutdown) = (Readiness::new(), Shutdown::manual());
    let (certificate, watches) = (readiness.condition("certificate"), readiness.condition("watches"));
    let (status, body) = get("/readyz", &readiness, &shutdown).await;
    assert_eq!((status, body.as_str()), (503, "certificate: starting\nwatches: starting\n"));

    certificate.ready();
    watches.not_ready("410 Gone");
    assert_eq!(get("/readyz", &readiness, &shutdown).await, (503, "watches: 410 Gone\n".to_owned()));

    watches.ready();
    assert_eq!(get("/readyz", &readiness, &shutdown).await.0, 200);
}

#[tokio::test]
async fn a_process_that_drains_is_alive_but_not_ready() {
    let (readiness, shutdown) = (Readiness::new(), Shutdown::manual());
    shutdown.trigger();
    assert_eq!(get("/readyz", &readiness, &shutdown).await.0, 503);
    assert_eq!(get("/livez", &readiness, &shutdown).await.0, 200);
}

#[test]
fn requesting_a_condition_again_does_not_reset_it() {
    let readiness = Readiness::new();
    readiness.condition("certificate").ready();
    readiness.condition("certificate");
    assert_eq!(readiness.unready(), Vec::<String>::new());
}

#[rstest]
#[case(Method::POST, "/readyz", 405)]
#[case(Method::GET, "/debug", 404)]
#[case::for_another_port(Method::GET, "/metrics", 404)]
fn other_methods_and_paths_are_rejected(#[case] method: Method, #[case] path: &str, #[case] status: u16) {
    let response = respond(&method, path, &Readiness::new(), &Shutdown::manual());
    assert_eq!(response.status().as_u16(), status);
}

/// One request over a connection of its own from 127.0.0.`host`, as the kubelet sends it; the status line, or nothing if it fails.
async fn probe(host: u8, addr: SocketAddr) -> Option<String> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).expect("a loopback address");
    let mut stream = socket.connect(addr).await.ok()?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.lines().next().map(str::to_owned)
}

#[tokio::test]
async fn a_probe_is_answered_while_others_hold_more_connections_than_there_are_slots() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(serve_on(listener, accept::Metrics::default(), Readiness::new(), Shutdown::manual()));
    // Some with requests whose responses nobody reads, some that send nothing, from one address and from many.
    let requests = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n".repeat(20);
    let mut held = Vec::new();
    for n in 0_u8..200 {
        let socket = TcpSocket::new_v4().expect("a socket");
        let host = if n < 100 { 2 } else { n };
        socket.bind(SocketAddr::from(([127, 0, 1, host], 0))).expect("a loopback address");
        let mut stream = socket.connect(addr).await.expect("the port is open");
        if n % 2 == 0 {
            // It may be closed already.
            let _ = stream.write_all(&requests).await;
        }
        held.push(stream);
        if n % 20 == 0 {
            let answer = timeout(Duration::from_secs(1), probe(9, addr)).await.expect("within the probe's timeout");
            assert_eq!(answer.as_deref(), Some("HTTP/1.1 200 OK"), "while {n} connections are held");
        }
    }
}
