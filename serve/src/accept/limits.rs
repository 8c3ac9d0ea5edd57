//! Limits on what clients can hold of a server.

use std::time::Duration;

/// The most that is buffered of a connection, in bytes. The head of a request has to fit; a body passes through in parts. With
/// hyper's default of some 400 kB, clients could hold a gigabyte by heads that they never finish.
pub(super) const MAX_BUFFER: usize = 64 * 1024;

/// Limits on what clients can hold of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Concurrent connections, including those in a TLS handshake. Further connections are closed at once.
    pub max_connections: usize,
    /// Timeout of a TLS handshake.
    pub handshake_timeout: Duration,
    /// Timeout for the head of a connection's first request.
    pub header_timeout: Duration,
    /// How long a connection may be idle between requests. The head of a later request has to arrive within this timeout too:
    /// a client that sends it slowly holds no more than an idle one.
    pub idle_timeout: Duration,
    /// How long a connection is without a request before its buffers are released until the next request; twice as long at
    /// most. Should be longer than the pauses of a busy client.
    pub rest_after: Duration,
    /// How long sent data may stay unacknowledged by the peer (`TCP_USER_TIMEOUT`, tcp(7)): closes connections to clients that
    /// are gone or do not read.
    pub send_timeout: Duration,
    /// Maximum size of one request body, in bytes. The server does not apply it: a service passes it to
    /// [`Budget::read`](super::Budget::read).
    pub max_body: usize,
    /// Maximum size of all large request bodies together, in bytes. The server does not apply it: a service makes a
    /// [`Budget`](super::Budget) of it.
    pub max_bodies: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(90),
            rest_after: Duration::from_secs(1),
            send_timeout: Duration::from_secs(30),
            // The limit of the API server itself (apiserver's MaxRequestBodyBytes).
            max_body: 3 * 1024 * 1024,
            max_bodies: 32 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// For a port with few clients: probes and scrapes, or people and their tools.
    pub fn few_clients() -> Self {
        Self {
            max_connections: 64,
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            ..Self::default()
        }
    }
}
