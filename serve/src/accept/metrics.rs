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
    refused: Reasons,
    closed: Reasons,
}

/// A counter for each reason.
type Reasons = Family<[(&'static str, &'static str); 1], Counter>;

/// Why a connection was closed before its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// accept(2) failed, for example because no file descriptor was left.
    Accept,
    /// The limit on connections was reached, and every connection has a request in flight.
    Limit,
    /// Its source has too many other newcomers, or too many of them failed.
    Source,
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
            Self::Source => "source",
            Self::Handshake => "handshake",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HeaderTimeout => "header_timeout",
        }
    }
}

/// Why the server closed a connection, other than by its idle timeout or the drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// A newcomer needed its slot.
    Evicted,
    /// The head of a request was not complete in time.
    HeaderTimeout,
    /// The client does not read its response, or too slowly.
    WriteTimeout,
    /// A response blamed the client (4xx), or the head of its request was invalid or too large.
    ClientError,
}

impl Closing {
    /// The value of the label `reason`.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::HeaderTimeout => "header_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::ClientError => "client_error",
        }
    }
}

impl Metrics {
    /// Adds `jobwarden_connections`, `jobwarden_connections_resting`, `jobwarden_connections_refused_total{reason}` and
    /// `jobwarden_connections_closed_total{reason}` to a registry.
    pub fn register(&self, registry: &mut Registry) {
        self.register_as(registry, "jobwarden_connections");
    }

    /// Like [`register`](Self::register), for another port of the same process, whose metrics begin with `prefix`.
    pub fn register_as(&self, registry: &mut Registry, prefix: &str) {
        let Self { connections, resting, refused, closed } = self;
        registry.register(prefix, "Open connections", connections.clone());
        registry.register(
            format!("{prefix}_resting"),
            "Open connections without a recent request, whose buffers have been released",
            resting.clone(),
        );
        registry.register(
            format!("{prefix}_refused"),
            "Connections closed before their first request, by reason",
            refused.clone(),
        );
        registry.register(
            format!("{prefix}_closed"),
            "Connections closed for what the client did, or for another connection, by reason",
            closed.clone(),
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

    /// Connections closed so far for this reason.
    pub fn closings(&self, reason: Closing) -> u64 {
        self.closed.get_or_create(&[("reason", reason.as_str())]).get()
    }

    pub(super) fn closed(&self, reason: Closing) {
        self.closed.get_or_create(&[("reason", reason.as_str())]).inc();
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
