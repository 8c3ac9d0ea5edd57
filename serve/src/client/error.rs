//! Why a request failed.

use std::{io, time::Duration};

use http::StatusCode;
use tokio::time::error::Elapsed;

use super::token::TokenError;
use crate::accept::BodyError;

/// Timeout of connect and TLS handshake together, and of request and response together: both are far shorter than the reaper
/// waits for an agent.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The token cannot be read.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No TCP connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// `host:port`.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// No TLS connection: an unknown CA, another name, an expired certificate.
    #[error("TLS handshake with {address} failed")]
    Handshake {
        /// `host:port`.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    /// A timeout expired.
    #[error("no response within {} s", TIMEOUT.as_secs())]
    TimedOut(#[from] Elapsed),
    /// The status is not 200.
    #[error("the server responded {status}: {text:?}")]
    Status {
        /// The status.
        status: StatusCode,
        /// The beginning of the body.
        text: String,
    },
    /// The body of the response cannot be read.
    #[error("cannot read the body of the response")]
    Body(#[source] BodyError),
}
