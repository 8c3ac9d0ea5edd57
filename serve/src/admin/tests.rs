use clap::Parser;
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::counter::Counter;
use rstest::rstest;

use super::*;

async fn get(path: &str, readiness: &Readiness, shutdown: &Shutdown) -> (u16, String) {
    let response = respond(&Method::GET, path, &Registry::default(), readiness, shutdown);
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
fn other_methods_and_paths_are_rejected(#[case] method: Method, #[case] path: &str, #[case] status: u16) {
    let response = respond(&method, path, &Registry::default(), &Readiness::new(), &Shutdown::manual());
    assert_eq!(response.status().as_u16(), status);
}

#[tokio::test]
async fn the_admin_port_serves_metrics() {
    let (counter, mut registry) = (Counter::<u64>::default(), Registry::default());
    registry.register("jobwarden_things", "Things", counter.clone());
    counter.inc();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(serve_on(listener, Arc::new(registry), Readiness::new(), Shutdown::manual()));

    let stream = tokio::net::TcpStream::connect(addr).await.expect("the port is open");
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("no I/O yet");
    tokio::spawn(connection);
    let request = Request::get("/metrics").body(Full::new(Bytes::new())).expect("valid");
    let response = client.send_request(request).await.expect("an answer");
    assert_eq!(response.headers()["content-type"], OPEN_METRICS);
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    let body = String::from_utf8(body.to_vec()).expect("text");
    assert!(body.contains("jobwarden_things_total 1"), "{body}");
}

#[test]
fn each_binary_has_its_own_default_port() {
    #[derive(Parser)]
    struct Agent {
        #[command(flatten)]
        admin: AdminArgs<{ port::AGENT_ADMIN }>,
    }
    #[derive(Parser)]
    struct Other {
        #[command(flatten)]
        admin: AdminArgs,
    }
    assert_eq!(Agent::parse_from(["x"]).admin.admin_addr.port(), 9441);
    assert_eq!(Other::parse_from(["x", "--admin-addr", "127.0.0.1:1"]).admin.admin_addr.port(), 1);
}
