//! One HTTPS connection.

use bytes::Bytes;
use http::{
    HeaderValue, Request, StatusCode,
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST},
};
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::{
    endpoint::Endpoint,
    error::{PostError, TIMEOUT},
};
use crate::accept::read_body;

/// Maximum size of a response, in bytes: the UIDs of more pods than a node can run, and a CA bundle.
const MAX_RESPONSE: usize = 1024 * 1024;

/// How much of the body of an error is kept, in characters.
const MAX_ERROR_TEXT: usize = 200;

/// A POST request with a JSON body.
#[derive(Clone, Debug)]
pub(super) struct Post<'a> {
    pub(super) path: &'a str,
    pub(super) authorization: HeaderValue,
    pub(super) json: Bytes,
    /// Whether to ask the server to close the connection after the response.
    pub(super) close: bool,
}

/// One connection. Dropping it closes it and aborts a request in flight.
#[derive(Debug)]
pub(super) struct Connection {
    requests: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    /// Connects, and verifies the certificate.
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, PostError> {
        timeout(TIMEOUT, Self::connect(endpoint)).await?
    }

    async fn connect(endpoint: &Endpoint) -> Result<Self, PostError> {
        let (address, server_name) = (endpoint.address(), endpoint.server_name());
        let connect = |source| PostError::Connect { address: address.to_owned(), source };
        let stream = TcpStream::connect(address).await.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        let stream = TlsConnector::from(endpoint.tls())
            .connect(server_name.clone(), stream)
            .await
            .map_err(|source| PostError::Handshake { address: address.to_owned(), source })?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(PostError::Broken)?;
        let driver = tokio::spawn(async {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection broke");
            }
        });
        let host = HeaderValue::from_str(&server_name.to_str()).expect("a DNS name or IP address is visible ASCII");
        Ok(Self { requests, host, _driver: AbortOnDropHandle::new(driver) })
    }

    /// Sends a request and returns the body of the response.
    pub(super) async fn post(&mut self, post: Post<'_>) -> Result<Bytes, PostError> {
        let Post { path, authorization, json, close } = post;
        let mut request = Request::post(path)
            .header(HOST, self.host.clone())
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(json))
            .expect("the headers are valid by their types, and paths are constants");
        if close {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        timeout(TIMEOUT, async {
            self.requests.ready().await.map_err(PostError::Broken)?;
            let response = self.requests.send_request(request).await.map_err(PostError::Broken)?;
            let status = response.status();
            let body = read_body(response.into_body(), MAX_RESPONSE).await.map_err(PostError::Body)?;
            if status == StatusCode::OK {
                return Ok(body);
            }
            let text = String::from_utf8_lossy(&body).chars().take(MAX_ERROR_TEXT).collect();
            Err(PostError::Status { status, text })
        })
        .await?
    }
}
