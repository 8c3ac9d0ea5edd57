//! One attempt to deliver by HTTP.

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;
use reqwest::{Certificate, Client, StatusCode, header, redirect};

use super::{
    config::{ConfigError, Format, SinkConfig},
    signature::{Secrets, SecretsError},
};
use crate::outbox::{JobOutcome, cloud_event};

/// How much of an answer is read, so that the connection can be used again; more is not worth it.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// A receiver of notifications by HTTP.
#[derive(Debug)]
pub(super) struct HttpSink {
    pub(super) name: String,
    pub(super) give_up_after: Duration,
    url: String,
    secret_file: Option<PathBuf>,
    format: Format,
    client: Client,
}

/// What a receiver said to a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has it (2xx).
    Acknowledged,
    /// It does not want it (410).
    Refused,
}

/// Why an attempt came to nothing. Shown in the outcome's status, so without URLs and secrets.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    #[error("cannot read the secret file")]
    SecretFile(#[source] std::io::Error),
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error("cannot encode the notification")]
    Encode(#[source] serde_json::Error),
    #[error("cannot post")]
    Post(#[source] reqwest::Error),
    #[error("the receiver answered {0}; redirects are not followed, give the final url")]
    Redirect(StatusCode),
    #[error("the receiver answered {0}")]
    Status(StatusCode),
}

impl HttpSink {
    pub(super) fn new(config: &SinkConfig) -> Result<Self, ConfigError> {
        let SinkConfig { name, url, secret_file, ca_file, format, timeout, give_up_after } = config;
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
                return Err(failed("there is no certificate in it".into()));
            }
            builder = builder.tls_certs_only(certificates);
        } else if url.starts_with("http:") {
            // A client that is never to speak TLS must not fail for want of CA certificates, which images `FROM scratch`
            // do not have.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|source| ConfigError::Client { sink: name.clone(), source })?;
        Ok(Self {
            name: name.clone(),
            give_up_after: *give_up_after,
            url: url.clone(),
            secret_file: secret_file.clone(),
            format: *format,
            client,
        })
    }

    /// Posts the notification of `outcome` at `now`.
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
        // A URL may hold a token.
        let mut response = request.body(body).send().await.map_err(|error| AttemptError::Post(error.without_url()))?;
        let status = response.status();
        let mut read = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            if read > MAX_ANSWER_BYTES {
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
