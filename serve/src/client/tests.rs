//! Against a server on the loopback that responds with what it received.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;

use super::*;
use crate::{
    accept::{BodyError, Limits, Metrics, Server},
    tls::{
        ServerIdentity,
        issued::{Issued, NAME, issue},
    },
};

struct Fixture {
    addr: SocketAddr,
    issued: Issued,
    metrics: Metrics,
    token: NamedTempFile,
}

/// A server that responds with the `authorization` and `connection` headers, or with 403 to the path `/forbidden`.
async fn fixture(limits: Limits) -> Fixture {
    let (issued, identity, metrics) = (issue(), ServerIdentity::new(), Metrics::default());
    identity.set_pem(&issued.chain, &issued.key).expect("a pair");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let addr = listener.local_addr().expect("bound");
    let service = service_fn(async |request: Request<Incoming>| {
        let shown = |name| request.headers().get(name).map_or("", |value| value.to_str().expect("ASCII"));
        let text = format!("{}|{}", shown(header::AUTHORIZATION), shown(header::CONNECTION));
        let status = if request.uri().path() == "/forbidden" { StatusCode::FORBIDDEN } else { StatusCode::OK };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        Ok::<_, BodyError>(response)
    });
    tokio::spawn(Server::https(listener, identity.server_config(), limits, metrics.clone()).run(service));
    let token = NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), "first\n").expect("written");
    Fixture { addr, issued, metrics, token }
}

impl Fixture {
    fn client(&self) -> TokenClient {
        TokenClient::new(TokenFile::new(self.token.path().to_owned()))
    }

    fn endpoint(&self, name: &str) -> Endpoint {
        Endpoint::new(self.addr.to_string(), name, &self.issued.ca).expect("valid")
    }
}

#[tokio::test]
async fn requests_share_a_connection_and_each_reads_the_token() {
    let server = fixture(Limits::default()).await;
    let (mut client, endpoint) = (server.client(), server.endpoint(NAME));
    assert_eq!(client.post(&endpoint, "/", Bytes::new()).await.expect("accepted"), "Bearer first|");
    std::fs::write(server.token.path(), "second").expect("written");
    assert_eq!(client.post(&endpoint, "/", Bytes::new()).await.expect("accepted"), "Bearer second|");
    assert_eq!(server.metrics.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_is_replaced() {
    let idle_timeout = Duration::from_millis(20);
    let server = fixture(Limits { idle_timeout, ..Limits::default() }).await;
    let (mut client, endpoint) = (server.client(), server.endpoint(NAME));
    for _ in 0..3 {
        client.post(&endpoint, "/", Bytes::new()).await.expect("accepted");
        while server.metrics.connections() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_single_request_closes_its_connection() {
    let server = fixture(Limits::default()).await;
    let response = server.client().post_once(&server.endpoint(NAME), "/", Bytes::new()).await;
    assert_eq!(response.expect("accepted"), "Bearer first|close");
}

#[tokio::test]
async fn each_failure_has_its_error() {
    let server = fixture(Limits::default()).await;
    let (mut client, endpoint) = (server.client(), server.endpoint(NAME));
    let rejected = client.post(&endpoint, "/forbidden", Bytes::new()).await.expect_err("403");
    assert_eq!(rejected.to_string(), r#"the server responded 403 Forbidden: "Bearer first|""#);
    let other_name = client.post(&server.endpoint("other.test"), "/", Bytes::new()).await;
    assert!(matches!(other_name, Err(PostError::Handshake { .. })), "{other_name:?}");
    let mut other_ca = server.endpoint(NAME);
    other_ca.trust(&issue().ca).expect("a CA");
    let unknown_ca = client.post(&other_ca, "/", Bytes::new()).await;
    assert!(matches!(unknown_ca, Err(PostError::Handshake { .. })), "{unknown_ca:?}");
    std::fs::write(server.token.path(), " \n").expect("written");
    let empty = client.post(&endpoint, "/", Bytes::new()).await;
    assert!(matches!(empty, Err(PostError::Token(TokenError::Invalid { .. }))), "{empty:?}");
    std::fs::remove_file(server.token.path()).expect("removed");
    let missing = client.post(&endpoint, "/", Bytes::new()).await;
    assert!(matches!(missing, Err(PostError::Token(TokenError::Read { .. }))), "{missing:?}");
}

#[test]
fn an_invalid_ca_bundle_leaves_the_previous_one_in_effect() {
    let ca = issue().ca;
    let mut endpoint = Endpoint::new("10.96.0.7:8444".to_owned(), NAME, &ca).expect("valid");
    let before = endpoint.tls();
    assert!(endpoint.trust("nonsense").is_err());
    assert!(std::sync::Arc::ptr_eq(&before, &endpoint.tls()));
    assert!(matches!(Endpoint::new(String::new(), "not a name", &ca), Err(EndpointError::Name { .. })));
}
