//! Why an attempt over HTTP failed.

use std::{path::PathBuf, time::Duration};

use http::StatusCode;
use jobwarden_serve::signature::SecretsError;

use crate::deliver::message::Fault;

/// Why an attempt failed. Shown in the outcome's status, so without URLs and secrets.
#[derive(Debug, thiserror::Error)]
pub(in crate::deliver) enum HttpError {
    #[error("cannot read the secret file {}", path.display())]
    SecretFile { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error("cannot read the token file {}", path.display())]
    TokenFile { path: PathBuf, source: std::io::Error },
    #[error("the token file {} does not have one line of printable ASCII", path.display())]
    Token { path: PathBuf },
    #[error("cannot send the request")]
    Send(#[source] reqwest::Error),
    #[error("the receiver responded with {0}; redirects are not followed, configure the final url")]
    Redirect(StatusCode),
    #[error("the receiver responded with {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
}

impl HttpError {
    /// Whether other messages would fail as well. Only a refusal is final; everything else is retried.
    pub(in crate::deliver) fn fault(&self) -> Fault {
        match self {
            // The settings were checked, so it is the message that does not make a request.
            Self::Send(error) if error.is_builder() => Fault::Message,
            Self::SecretFile { .. }
            | Self::Secrets(_)
            | Self::TokenFile { .. }
            | Self::Token { .. }
            | Self::Send(_)
            | Self::Redirect(_) => Fault::Sink,
            Self::Status { status, .. } => fault_of(*status),
        }
    }

    /// The pause that the receiver asks for.
    pub(in crate::deliver) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

fn fault_of(status: StatusCode) -> Fault {
    match status {
        StatusCode::GONE => Fault::Refusal,
        // Wrong credentials or a wrong URL, for every message; or a receiver that is busy.
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS => Fault::Sink,
        status if status.is_client_error() => Fault::Message,
        _ => Fault::Sink,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_fault() {
        let of_the_sink = [401, 403, 404, 407, 408, 425, 429];
        for code in 100..1000 {
            let status = StatusCode::from_u16(code).expect("three digits");
            let expected = match code {
                410 => Fault::Refusal,
                400..500 if !of_the_sink.contains(&code) => Fault::Message,
                _ => Fault::Sink,
            };
            assert_eq!(HttpError::Status { status, retry_after: None }.fault(), expected, "{code}");
        }
    }
}
