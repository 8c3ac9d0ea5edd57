//! A server that takes beats over TLS and counts them, and asks for the next one very soon: for measuring sidecars.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::Context as _;
use jobwarden_common::beat::{BeatReply, BeatRequest, Command};
use tokio::sync::watch;

use crate::tls_server::TlsServer;

const NAME: &str = "beats.test";

/// A running server; it stops when this is dropped.
pub struct BeatServer {
    server: TlsServer,
    beats: watch::Receiver<u64>,
}

impl BeatServer {
    /// Serves on `listener` with a certificate of its own; asks for the next beat after `interval`.
    pub fn start(listener: TcpListener, interval: Duration) -> anyhow::Result<Self> {
        let (count, beats) = watch::channel(0);
        let next_in_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        let server = TlsServer::start(listener, NAME, move |body| {
            if let Ok(BeatRequest { beats }) = serde_json::from_slice(&body) {
                count.send_modify(|count| *count += beats.len() as u64);
            }
            let reply = BeatReply { next_in_ms, command: Command::Continue, ca: None };
            serde_json::to_vec(&reply).expect("a reply has no map with odd keys")
        })?;
        Ok(Self { server, beats })
    }

    /// `host:port` to dial.
    pub fn address(&self) -> &str {
        self.server.address()
    }

    /// The name in its certificate.
    pub fn name(&self) -> &str {
        NAME
    }

    /// Its CA, PEM.
    pub fn ca(&self) -> &str {
        self.server.ca()
    }

    /// Waits until this many beats have come.
    pub async fn wait_for_beats(&self, wanted: u64, patience: Duration) -> anyhow::Result<()> {
        let mut beats = self.beats.clone();
        let waiting = beats.wait_for(|beats| *beats >= wanted);
        let waited = tokio::time::timeout(patience, waiting).await.map(|outcome| outcome.map(|_| ()));
        waited.with_context(|| format!("only {} beats came", *self.beats.borrow()))?.context("the server has stopped")
    }
}
