//! One kept-alive HTTPS connection to the reaper.

use std::{io, path::Path, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use jobwarden_serve::accept::{BodyError, read_body};
use tokio::{
    net::TcpStream,
    time::{error::Elapsed, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::endpoint::Endpoint;

/// How long dialling and the handshake may take, and then the answer: together far less than the reaper waits for an agent.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most an answer may hold, in bytes: the UIDs of more pods than a node can have, and a CA bundle.
const MAX_ANSWER: usize = 1024 * 1024;

/// How much of a refusal is worth a log line, in characters.
const MAX_REFUSAL: usize = 200;

/// Why a report was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// No TCP connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// What was dialled.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// No TLS connection: an unknown CA, another name, an expired certificate.
    #[error("TLS handshake with {address} failed")]
    Handshake {
        /// What was dialled.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    /// No answer in time.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    TimedOut(#[from] Elapsed),
    /// An answer that is not 200.
    #[error("the reaper answered {status}: {says:?}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// The beginning of its text.
        says: String,
    },
    /// An answer that cannot be read to its end.
    #[error("the answer cannot be read")]
    Answer(#[source] BodyError),
    /// There is no token to show.
    #[error("cannot read the token file {file}; mount a projected service account token there, or give --token-file")]
    TokenFile {
        /// Which.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// What is in the file cannot be a token.
    #[error("the token file {file} holds no token")]
    NoToken {
        /// Which.
        file: String,
    },
}

/// One connection. Dropping it closes it, whatever is under way.
#[derive(Debug)]
pub struct Connection {
    requests: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    /// Dials the endpoint and makes sure that it is the one.
    pub async fn open(endpoint: &Endpoint) -> Result<Self, PostError> {
        timeout(TIMEOUT, Self::dial(endpoint)).await?
    }

    async fn dial(endpoint: &Endpoint) -> Result<Self, PostError> {
        let Endpoint { address, server_name, tls } = endpoint;
        let connect = |source| PostError::Connect { address: address.clone(), source };
        let stream = TcpStream::connect(address).await.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        let stream = TlsConnector::from(tls.clone())
            .connect(server_name.clone(), stream)
            .await
            .map_err(|source| PostError::Handshake { address: address.clone(), source })?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(PostError::Broken)?;
        let driver = tokio::spawn(async {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the reaper broke");
            }
        });
        let host = HeaderValue::from_str(&server_name.to_str()).expect("a DNS name or IP address is visible ASCII");
        Ok(Self { requests, host, _driver: AbortOnDropHandle::new(driver) })
    }

    /// Posts JSON and returns the answer to it.
    pub async fn post(&mut self, path: &str, token: HeaderValue, json: Bytes) -> Result<Bytes, PostError> {
        let request = Request::post(path)
            .header(HOST, self.host.clone())
            .header(AUTHORIZATION, token)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(json))
            .expect("the parts of the request are valid by their types, and the path is ours");
        timeout(TIMEOUT, async {
            self.requests.ready().await.map_err(PostError::Broken)?;
            let response = self.requests.send_request(request).await.map_err(PostError::Broken)?;
            let status = response.status();
            let answer = read_body(response.into_body(), MAX_ANSWER).await.map_err(PostError::Answer)?;
            if status == StatusCode::OK {
                return Ok(answer);
            }
            let says = String::from_utf8_lossy(&answer).chars().take(MAX_REFUSAL).collect();
            Err(PostError::Refused { status, says })
        })
        .await?
    }
}

/// The `Authorization` header with the token that is in the file now; the kubelet renews it.
pub async fn bearer(token_file: &Path) -> Result<HeaderValue, PostError> {
    let file = || token_file.display().to_string();
    let token =
        tokio::fs::read_to_string(token_file).await.map_err(|source| PostError::TokenFile { file: file(), source })?;
    let token = token.trim();
    let header = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| !token.is_empty());
    let mut header = header.ok_or_else(|| PostError::NoToken { file: file() })?;
    header.set_sensitive(true);
    Ok(header)
}
