//! Metrics of connections.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Metrics of one server's connections; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    connections: Gauge,
    resting: Gauge,
    refused: Family<[(&'static str, &'static str); 1], Counter>,
}

/// Why a connection was closed before its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// accept(2) failed, for example because no file descriptor was left.
    Accept,
    /// The limit on connections was reached.
    Limit,
    /// The TLS handshake failed.
    Handshake,
    /// The TLS handshake timed out.
    HandshakeTimeout,
    /// The head of the first request timed out.
    HeaderTimeout,
}

impl Refusal {
    /// The value of the label `reason`.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Limit => "limit",
            Self::Handshake => "handshake",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HeaderTimeout => "header_timeout",
        }
    }
}

impl Metrics {
    /// Adds `jobwarden_connections`, `jobwarden_connections_resting` and `jobwarden_connections_refused_total{reason}` to a
    /// registry.
    pub fn register(&self, registry: &mut Registry) {
        let Self { connections, resting, refused } = self;
        registry.register("jobwarden_connections", "Open connections", connections.clone());
        registry.register(
            "jobwarden_connections_resting",
            "Open connections without a recent request, whose buffers have been released",
            resting.clone(),
        );
        registry.register(
            "jobwarden_connections_refused",
            "Connections closed before their first request, by reason",
            refused.clone(),
        );
    }

    /// Connections that are open now.
    pub fn connections(&self) -> i64 {
        self.connections.get()
    }

    /// Connections that rest now.
    pub fn resting(&self) -> i64 {
        self.resting.get()
    }

    /// Connections refused so far for this reason.
    pub fn refusals(&self, reason: Refusal) -> u64 {
        self.refused.get_or_create(&[("reason", reason.as_str())]).get()
    }

    pub(super) fn refused(&self, reason: Refusal) {
        self.refused.get_or_create(&[("reason", reason.as_str())]).inc();
    }

    /// Counts a connection as open until the returned value is dropped.
    pub(super) fn open_connection(&self) -> Counted {
        Counted::new(&self.connections)
    }

    /// Counts a connection as resting until the returned value is dropped.
    pub(super) fn rest(&self) -> Counted {
        Counted::new(&self.resting)
    }
}

/// One connection, counted while this value exists.
pub(super) struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
