//! Single HTTP requests, each over a connection of its own.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use jobwarden_testbed::Forwarder;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Whether the response status is 200, and its body.
pub(super) async fn get(server: &Forwarder, path: &str) -> anyhow::Result<(bool, String)> {
    exchange(server, path, &format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")).await
}

/// The same for a request with a JSON body.
pub(super) async fn post(server: &Forwarder, path: &str, body: &str) -> anyhow::Result<(bool, String)> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n");
    let head = format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    exchange(server, path, &format!("{head}{body}")).await
}

async fn exchange(server: &Forwarder, path: &str, request: &str) -> anyhow::Result<(bool, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).await.context("connecting")?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.with_context(|| format!("reading {path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no response to {path}"))?;
    Ok((head.starts_with("HTTP/1.1 200"), body.to_owned()))
}
