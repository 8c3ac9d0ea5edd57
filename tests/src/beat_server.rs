//! A server that counts beats and asks for the next beat very soon, for measuring sidecars.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::Context as _;
use jobwarden_common::beat::{BeatReply, BeatRequest, Command};
use tokio::sync::watch;

use crate::tls_server::TlsServer;

const NAME: &str = "beats.test";

/// A running server. It stops when this is dropped.
pub struct BeatServer {
    server: TlsServer,
    beats: watch::Receiver<u64>,
}

impl BeatServer {
    /// Serves on `listener` with its own certificate, and asks for the next beat after `interval`.
    pub fn start(listener: TcpListener, interval: Duration) -> anyhow::Result<Self> {
        let (count, beats) = watch::channel(0);
        let next_in_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        let server = TlsServer::start(listener, NAME, move |body| {
            if let Ok(BeatRequest { beats }) = serde_json::from_slice(&body) {
                count.send_modify(|count| *count += beats.len() as u64);
            }
            let reply = BeatReply { next_in_ms, command: Command::Continue, ca: None };
            serde_json::to_vec(&reply).expect("a reply serializes to JSON")
        })?;
        Ok(Self { server, beats })
    }

    /// Its address, `host:port`.
    pub fn address(&self) -> &str {
        self.server.address()
    }

    /// The name in its certificate.
    pub fn name(&self) -> &str {
        NAME
    }

    /// The CA certificate of its certificate, PEM.
    pub fn ca(&self) -> &str {
        self.server.ca()
    }

    /// Waits until it has received this many beats.
    pub async fn wait_for_beats(&self, wanted: u64, limit: Duration) -> anyhow::Result<()> {
        let mut beats = self.beats.clone();
        let waiting = beats.wait_for(|beats| *beats >= wanted);
        let waited = tokio::time::timeout(limit, waiting).await.map(|outcome| outcome.map(|_| ()));
        waited
            .with_context(|| format!("received only {} of {wanted} beats", *self.beats.borrow()))?
            .context("the server has stopped")
    }
}
