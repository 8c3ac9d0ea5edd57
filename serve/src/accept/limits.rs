//! Limits on what clients can hold of a server.

use std::time::Duration;

use clap::Args;

/// The most that is buffered of a connection, in bytes: a body passes through in parts of this size.
pub(super) const MAX_BUFFER: usize = 64 * 1024;

/// The maximum size of the head of a request, in bytes. A token has at most 8 KiB.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// The speed, in bytes a second, that bodies of requests and responses must have on average, once their grace has passed.
pub(super) const LEAST_SPEED: u64 = 16 * 1024;

/// Limits on what clients can hold of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Concurrent connections. When they are used up, the oldest idle one is closed for a newcomer.
    pub max_connections: usize,
    /// Concurrent connections of one source. When they are used up, its oldest idle one is closed for its next; while none is idle, it may
    /// have more.
    pub source_connections: usize,
    /// Concurrent newcomers of one source: connections without a successful response yet, in their handshake or after it. More
    /// wait for up to `handshake_timeout`.
    pub source_newcomers: usize,
    /// How long a connection that has ended without a successful response still counts among the newcomers of its source.
    pub penalty: Duration,
    /// Timeout of a TLS handshake.
    pub handshake_timeout: Duration,
    /// Timeout for the head of a request: of the first from the end of the handshake on, of a later one from its first byte on.
    pub header_timeout: Duration,
    /// How long a connection may be idle between requests.
    pub idle_timeout: Duration,
    /// How long a connection is without a request before its buffers are released until the next request; twice as long at
    /// most. Should be longer than the pauses of a busy client.
    pub rest_after: Duration,
    /// In each span of this length, a client has to take 16 KiB a second of a response that is being sent.
    pub write_timeout: Duration,
    /// How long sent data may stay unacknowledged by the peer (`TCP_USER_TIMEOUT`, tcp(7)): closes connections to clients that
    /// are gone or whose kernel does not accept more.
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
            // The API server has at most as many requests in flight (`--max-requests-inflight` and the mutating ones: 600).
            max_connections: 1024,
            source_connections: 512,
            source_newcomers: 256,
            penalty: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(90),
            rest_after: Duration::from_secs(1),
            write_timeout: Duration::from_secs(10),
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
            source_connections: 16,
            source_newcomers: 16,
            idle_timeout: Duration::from_secs(30),
            ..Self::default()
        }
    }
}

/// Flags of the limits on connections to the port that serves the cluster. The other ports have fixed ones.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Connections")]
pub struct LimitArgs {
    /// The most connections; when they are used up, the oldest idle one is closed for a newcomer. Default: 1024 for the webhook; for the
    /// reaper 25000, or what the limit on open files allows
    #[arg(long, env = "JOBWARDEN_MAX_CONNECTIONS", value_parser = parse_count, value_name = "COUNT")]
    pub max_connections: Option<usize>,

    /// The most connections from one address; when they are used up, its own oldest idle one is closed. Default: 512 for the webhook, 1024
    /// for the reaper. Raise it where many nodes connect through one address
    #[arg(long, env = "JOBWARDEN_MAX_CONNECTIONS_PER_SOURCE", value_parser = parse_count, value_name = "COUNT")]
    pub max_connections_per_source: Option<usize>,

    /// The most connections from one address that have had no successful response yet, or have failed in the last 5 s; more wait. A fifth of it is
    /// the number of failed authentications a second. Default: 256
    #[arg(long, env = "JOBWARDEN_MAX_NEWCOMERS_PER_SOURCE", value_parser = parse_count, value_name = "COUNT")]
    pub max_newcomers_per_source: Option<usize>,
}

impl LimitArgs {
    /// `limits` with what the flags change.
    pub fn apply(self, limits: Limits) -> Limits {
        let Self { max_connections, max_connections_per_source, max_newcomers_per_source } = self;
        Limits {
            max_connections: max_connections.unwrap_or(limits.max_connections),
            source_connections: max_connections_per_source.unwrap_or(limits.source_connections),
            source_newcomers: max_newcomers_per_source.unwrap_or(limits.source_newcomers),
            ..limits
        }
    }
}

/// At least 8: below that a server does not work.
fn parse_count(text: &str) -> Result<usize, String> {
    let count = text.parse().map_err(|error: std::num::ParseIntError| error.to_string())?;
    if (8..=1_000_000).contains(&count) { Ok(count) } else { Err("must be between 8 and 1000000".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        limits: LimitArgs,
    }

    #[test]
    fn flags_replace_the_limits_that_they_name() {
        let flags = Flags::parse_from(["x", "--max-connections-per-source=20"]).limits;
        let expected = Limits { source_connections: 20, ..Limits::default() };
        assert_eq!(flags.apply(Limits::default()), expected);
        assert!(Flags::try_parse_from(["x", "--max-connections=0"]).is_err());
    }
}
