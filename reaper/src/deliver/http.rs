//! Delivery attempts over HTTP.

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;
use reqwest::{Certificate, Client, StatusCode, header, redirect};

use super::{
    config::{ConfigError, Format, SinkConfig},
    signature::{Secrets, SecretsError},
};
use crate::outbox::{JobOutcome, cloud_event};

/// How many bytes of a response are read so that the connection can be reused.
const MAX_RESPONSE_BYTES: usize = 16 * 1024;

/// A sink that receives notifications over HTTP.
#[derive(Debug)]
pub(super) struct HttpSink {
    pub(super) name: String,
    pub(super) expire_after: Duration,
    url: String,
    secret_file: Option<PathBuf>,
    format: Format,
    client: Client,
}

/// The final response of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The receiver acknowledged the notification (2xx).
    Acknowledged,
    /// The receiver refused the notification permanently (410).
    Refused,
}

/// Why an attempt failed. Shown in the outcome's status, so without URLs and secrets.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    #[error("cannot read the secret file")]
    SecretFile(#[source] std::io::Error),
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error("cannot encode the notification")]
    Encode(#[source] serde_json::Error),
    #[error("cannot send the request")]
    Post(#[source] reqwest::Error),
    #[error("the receiver responded with {0}; redirects are not followed, configure the final url")]
    Redirect(StatusCode),
    #[error("the receiver responded with {0}")]
    Status(StatusCode),
}

impl HttpSink {
    pub(super) fn new(config: &SinkConfig) -> Result<Self, ConfigError> {
        let SinkConfig { name, url, secret_file, ca_file, format, timeout, expire_after } = config;
        let mut builder = Client::builder()
            .timeout(*timeout)
            .connect_timeout(*timeout)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("jobwarden/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = ca_file {
            let failed = |source: Box<dyn std::error::Error + Send + Sync>| ConfigError::Ca {
                sink: name.clone(),
                path: path.clone(),
                source,
            };
            let pem = std::fs::read(path).map_err(|error| failed(error.into()))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| failed(error.into()))?;
            if certificates.is_empty() {
                return Err(failed("the file has no certificate".into()));
            }
            builder = builder.tls_certs_only(certificates);
        } else if url.starts_with("http:") {
            // A client without TLS must not fail because the system has no CA certificates, as in images `FROM scratch`.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|source| ConfigError::Client { sink: name.clone(), source })?;
        Ok(Self {
            name: name.clone(),
            expire_after: *expire_after,
            url: url.clone(),
            secret_file: secret_file.clone(),
            format: *format,
            client,
        })
    }

    /// Sends the notification of `outcome`, signed with the time `now`.
    pub(super) async fn post(&self, outcome: &JobOutcome, now: Timestamp) -> Result<Answer, AttemptError> {
        let id = outcome.outcome_name();
        let (content_type, body) = match self.format {
            Format::CloudEvents => ("application/cloudevents+json", serde_json::to_vec(&cloud_event(outcome))),
        };
        let body = body.map_err(AttemptError::Encode)?;
        let mut request = self
            .client
            .post(&self.url)
            .header(header::CONTENT_TYPE, content_type)
            .header("webhook-id", id.as_str())
            .header("webhook-timestamp", now.as_second().to_string());
        if let Some(path) = &self.secret_file {
            let text = tokio::fs::read_to_string(path).await.map_err(AttemptError::SecretFile)?;
            let secrets = Secrets::parse(&text)?;
            request = request.header("webhook-signature", secrets.sign(id.as_str(), now, &body));
        }
        // The URL may contain a token.
        let mut response = request.body(body).send().await.map_err(|error| AttemptError::Post(error.without_url()))?;
        let status = response.status();
        let mut read = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            if read > MAX_RESPONSE_BYTES {
                break;
            }
        }
        match status {
            status if status.is_success() => Ok(Answer::Acknowledged),
            StatusCode::GONE => Ok(Answer::Refused),
            status if status.is_redirection() => Err(AttemptError::Redirect(status)),
            status => Err(AttemptError::Status(status)),
        }
    }
}
