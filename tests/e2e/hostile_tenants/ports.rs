//! Bytes that no client of jobwarden would send, from a pod of the attacker. `tests/e2e/ports.rs` has the sieges.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::StatusCode;
use jobwarden_common::names::{TOKEN_AUDIENCE, object, port, route};
use jobwarden_tests::https_client::{Server, connect, post};
use jobwarden_tests::install::NAMESPACE;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::attacker::Attacker;
use crate::authentication::Reaper;
use crate::ports::{address, own_pods};

/// Connections to each port.
const IDLE: usize = 80;

/// How long the answer to a malformed request may take. It closes the connection.
const ANSWER: Duration = Duration::from_secs(8);

/// Sends bytes over TLS and reads until the server closes, or for as long as it may take.
pub(super) async fn raw(server: &Server<'_>, request: &str) -> anyhow::Result<String> {
    let mut stream = connect(server).await?;
    // The server may close the connection before it has read all of it.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(ANSWER, stream.read_to_end(&mut answer)).await;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

pub(super) async fn beats_of_wrong_shape(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let base = attacker.pod_in_the_network().await?;
    let token = attacker.pod_token(&base, TOKEN_AUDIENCE).await?;
    let reaper = Reaper::find(attacker.environment).await?;
    let beat = json!({"seq": 0, "phase": "running"});
    let many = |count: usize| json!({"beats": vec![beat.clone(); count]}).to_string();
    let nested = format!("{{\"beats\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    for (what, body, expected) in [
        ("no beat", many(0), StatusCode::BAD_REQUEST),
        ("seventeen beats", many(17), StatusCode::BAD_REQUEST),
        ("no JSON", "\u{0}".repeat(100), StatusCode::BAD_REQUEST),
        ("lists in lists", nested, StatusCode::BAD_REQUEST),
        ("another phase", json!({"beats": [{"seq": 0, "phase": "dead"}]}).to_string(), StatusCode::BAD_REQUEST),
        ("a negative number", json!({"beats": [{"seq": -1, "phase": "running"}]}).to_string(), StatusCode::BAD_REQUEST),
        ("one beat", many(1), StatusCode::OK),
    ] {
        let (status, _) = post(&reaper.server(), route::BEATS, Some(&token), body.into_bytes()).await?;
        ensure!(status == expected, "a request with {what} is answered with {status}");
    }
    // Sixteen times what a request may have, of which nothing is ever sent.
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: 262144\r\n\r\n",
        route::BEATS
    );
    let answer = raw(&reaper.server(), &head).await?;
    ensure!(answer.starts_with("HTTP/1.1 413"), "a beat of 256 KiB is answered with {answer:?}");
    Ok(())
}

pub(super) async fn contradicting_requests(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let reaper = Reaper::find(attacker.environment).await?;
    let base = attacker.pod_in_the_network().await?;
    let token = attacker.pod_token(&base, TOKEN_AUDIENCE).await?;
    let beat = r#"{"beats":[{"seq":0,"phase":"running"}]}"#;
    let (path, length) = (route::BEATS, beat.len());
    let requests = [
        (
            "two lengths",
            format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: {length}\r\n\r\n{beat}"),
        ),
        ("a negative length", format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n{beat}")),
        (
            "an endless length",
            format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n"),
        ),
        (
            "a chunk of all memory",
            format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n"),
        ),
        ("no token", format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{beat}")),
        ("another method", format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n")),
        ("a path above all", "POST /../../etc/passwd HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n".to_owned()),
        (
            "an upgrade to HTTP/2",
            format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"),
        ),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("a head of 60 kB", format!("POST {path} HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(60_000))),
        ("two thousand headers", format!("POST {path} HTTP/1.1\r\nhost: a\r\n{}\r\n", "a: b\r\n".repeat(2_000))),
    ];
    for (what, request) in requests {
        let answer = raw(&reaper.server(), &request).await.with_context(|| format!("a request with {what}"))?;
        attacker.sees(&answer);
        let is_refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        ensure!(is_refused, "a request with {what} is answered with {answer:?}");
        ensure!(answer.matches("HTTP/1.1").count() <= 1, "a request with {what} is answered twice: {answer:?}");
    }
    // The head and the body of another request in the body of one: it is not read as a request.
    let inner = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n{beat}"
    );
    let outer = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{inner}", inner.len());
    let answer = raw(&reaper.server(), &outer).await?;
    ensure!(!answer.contains("HTTP/1.1 200"), "a request in the body of another is answered: {answer:?}");
    Ok(())
}

/// They last until the victim and the bystander have ended.
pub(super) async fn idle_connections(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let base = attacker.pod_in_the_network().await?;
    let pods = own_pods(attacker.environment).await?;
    ensure!(pods.len() >= 2, "webhook and reaper have {} pods", pods.len());
    let mut addresses = Vec::new();
    for pod in &pods {
        let is_webhook = has_name(pod, object::WEBHOOK_SERVICE);
        let own: &[u16] = if is_webhook { &[port::WEBHOOK] } else { &[port::REAPER, port::API_TLS] };
        for port in own.iter().chain(&[port::ADMIN, port::METRICS]) {
            addresses.push(SocketAddr::new(address(pod)?, *port));
        }
    }
    for address in addresses {
        let forwarder = attacker.reach(&base, address).await?;
        let mut connections = tokio::task::JoinSet::new();
        for _ in 0..IDLE {
            connections.spawn(keep_open(forwarder.port()));
        }
        attacker.hold((connections, forwarder));
    }
    attacker.run_through().await?;
    // The pods' Service serves everybody else.
    let reaper = Reaper::find(attacker.environment).await?;
    let token = attacker.pod_token(&base, TOKEN_AUDIENCE).await?;
    let status = timeout(Duration::from_secs(5), reaper.beat(Some(&token))).await.context("an honest beat waits")??;
    ensure!(status == StatusCode::OK, "an honest beat is answered with {status} in namespace {NAMESPACE}");
    Ok(())
}

fn has_name(pod: &Pod, name: &str) -> bool {
    pod.labels().get("app.kubernetes.io/name").is_some_and(|value| value == name)
}

/// Connects again whenever the connection is closed.
async fn keep_open(port: u16) {
    loop {
        if let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            let _ = stream.peek(&mut [0]).await;
        }
        sleep(Duration::from_secs(2)).await;
    }
}
