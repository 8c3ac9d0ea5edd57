//! What Prometheus hears of connections.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Figures of one server's connections; clones are the same figures.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    connections: Gauge,
    resting: Gauge,
    refused: Family<[(&'static str, &'static str); 1], Counter>,
}

/// Why a connection was ended before it brought a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The kernel could not hand it over, such as for want of file descriptors.
    Accept,
    /// As many connections are open as may be.
    Limit,
    /// The handshake failed.
    Handshake,
    /// The handshake took too long.
    HandshakeTimeout,
    /// The head of the first request took too long.
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
        registry.register("jobwarden_connections", "Connections that are open", connections.clone());
        registry.register(
            "jobwarden_connections_resting",
            "Connections that are open and have had no request for a while, so that they take little memory",
            resting.clone(),
        );
        registry.register(
            "jobwarden_connections_refused",
            "Connections that were ended before they brought a request",
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

    /// Connections that were refused so far for this reason.
    pub fn refusals(&self, reason: Refusal) -> u64 {
        self.refused.get_or_create(&[("reason", reason.as_str())]).get()
    }

    pub(super) fn refused(&self, reason: Refusal) {
        self.refused.get_or_create(&[("reason", reason.as_str())]).inc();
    }

    /// Counts a connection as open until the answer is dropped.
    pub(super) fn open_connection(&self) -> Counted {
        Counted::new(&self.connections)
    }

    /// Counts one as resting until the answer is dropped.
    pub(super) fn rest(&self) -> Counted {
        Counted::new(&self.resting)
    }
}

/// One connection that is counted.
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
