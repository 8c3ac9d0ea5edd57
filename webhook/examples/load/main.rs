//! A client that sends reviews over kept-alive TLS connections and reports the latencies.
//!
//! `load <ip:port> <file with the CA> <minimal|typical|large> <connections> closed <requests>` sends the next review of a connection
//! when the previous one is answered. `… open <seconds>` sends 200 a second over all connections, at a fixed rate; a latency counts
//! from the time at which the review was due, so that a stalled server does not look fast (coordinated omission). The last line is
//! `{"requests":…,"p50_us":…,"p99_us":…}`. `… siege <seconds>` sends hostile traffic: see [`siege`].

#![allow(clippy::print_stdout)]

mod client;
mod reviews;
mod siege;

use std::{env, time::Duration};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use jobwarden_common::names::admission_route;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use self::client::{NAME, Server};

/// Reviews a second of the open loop.
const RATE: u32 = 200;

/// How a connection is loaded.
#[derive(Clone, Copy)]
enum Load {
    /// This many reviews, one after the other.
    Closed { requests: u32 },
    /// One review every `every`, the first after `first`, `requests` of them.
    Open { first: Duration, every: Duration, requests: u32 },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    jobwarden_serve::tls::install_crypto_provider();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, ca, pod, connections, kind, amount] = &arguments[..] else {
        bail!(
            "usage: load <ip:port> <ca.pem> <minimal|typical|large> <connections> <closed <requests>|open <seconds>|siege <seconds>>"
        );
    };
    let body = match pod.as_str() {
        "minimal" => reviews::minimal(),
        "typical" => reviews::typical(),
        "large" => reviews::large(),
        other => bail!("unknown pod {other:?}"),
    };
    let server = Server::new(address, ca)?;
    let (connections, amount): (u32, u32) = (connections.parse()?, amount.parse()?);
    if kind == "siege" {
        return siege::run(&server, connections, Duration::from_secs(amount.into())).await;
    }
    let mut senders = Vec::new();
    for _ in 0..connections {
        senders.push(connect(&server).await?);
    }
    let mut running = JoinSet::new();
    for (index, sender) in (0_u32..).zip(senders) {
        let load = match kind.as_str() {
            "closed" => Load::Closed { requests: amount / connections },
            "open" => Load::Open {
                first: index * Duration::from_secs(1) / RATE,
                every: connections * Duration::from_secs(1) / RATE,
                requests: amount * RATE / connections,
            },
            other => bail!("unknown loop {other:?}"),
        };
        running.spawn(run(sender, body.clone(), load));
    }
    let mut latencies = Vec::new();
    while let Some(done) = running.join_next().await {
        latencies.extend(done??);
    }
    latencies.sort_unstable();
    ensure!(!latencies.is_empty(), "nothing was sent");
    let percentile = |share: usize| latencies[(latencies.len() - 1) * share / 100].as_micros();
    println!(r#"{{"requests":{},"p50_us":{},"p99_us":{}}}"#, latencies.len(), percentile(50), percentile(99));
    Ok(())
}

async fn connect(server: &Server) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = http1::handshake(TokioIo::new(server.secure().await?)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn run(mut sender: SendRequest<Full<Bytes>>, body: Bytes, load: Load) -> anyhow::Result<Vec<Duration>> {
    let start = Instant::now();
    let mut latencies = Vec::new();
    let requests = match load {
        Load::Closed { requests } | Load::Open { requests, .. } => requests,
    };
    for number in 0..requests {
        let due = match load {
            Load::Closed { .. } => Instant::now(),
            Load::Open { first, every, .. } => start + first + every * number,
        };
        sleep_until(due).await;
        let request = Request::post(admission_route::PODS)
            .header(header::HOST, NAME)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.clone()))?;
        let response = sender.send_request(request).await.context("sending a review")?;
        ensure!(response.status() == StatusCode::OK, "the server answers {}", response.status());
        response.into_body().collect().await.context("reading the answer")?;
        latencies.push(due.elapsed());
    }
    Ok(latencies)
}
