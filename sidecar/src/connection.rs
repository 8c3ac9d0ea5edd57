//! One kept-alive connection to the reaper.

use std::{error::Error as StdError, io, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1::{Builder, SendRequest},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use jobwarden_common::{
    beat::{BeatReply, BeatRequest},
    names::route,
};
use rustls::{ClientConfig, pki_types::ServerName};
use thiserror::Error;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tokio_rustls::TlsConnector;

/// Applies to the TCP connection and TLS handshake together, and then to each request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest reply accepted. Only a CA bundle makes a reply long.
const MAX_REPLY_BYTES: usize = 64 * 1024;

/// The smallest buffer that hyper allows: requests and replies are small.
const BUFFER_BYTES: usize = 8 * 1024;

/// The most headers accepted in a reply; the reaper sends three.
const MAX_HEADERS: usize = 32;

/// An established connection. Dropping it closes it immediately, whatever its state.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    io: JoinHandle<()>,
}

/// Why a beat got no valid reply.
#[derive(Debug, Error)]
pub(crate) enum ConnectionError {
    #[error("TCP connection failed")]
    Connect(#[source] io::Error),
    #[error("TLS handshake failed")]
    Handshake(#[source] io::Error),
    #[error("HTTP connection setup failed")]
    Http(#[source] hyper::Error),
    #[error("connection timed out after {} s", TIMEOUT.as_secs())]
    ConnectTimeout,
    #[error("no reply within {} s", TIMEOUT.as_secs())]
    ReplyTimeout,
    #[error("the connection was lost")]
    Exchange(#[source] hyper::Error),
    #[error("the reaper replied {0}")]
    Rejected(StatusCode),
    #[error("the reply is incomplete or larger than {MAX_REPLY_BYTES} bytes")]
    Body(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the reply is not a valid beat reply")]
    Reply(#[source] serde_json::Error),
}

impl Connection {
    /// Connects to `address` (`host:port`) and verifies that its certificate is for `server_name`.
    pub(crate) async fn open(
        address: &str,
        server_name: ServerName<'static>,
        tls: Arc<ClientConfig>,
    ) -> Result<Self, ConnectionError> {
        let connect = async {
            let tcp = TcpStream::connect(address).await.map_err(ConnectionError::Connect)?;
            // A beat is one small write; Nagle's algorithm would delay it.
            tcp.set_nodelay(true).map_err(ConnectionError::Connect)?;
            TlsConnector::from(tls).connect(server_name, tcp).await.map_err(ConnectionError::Handshake)
        };
        let stream = timeout(TIMEOUT, connect).await.map_err(|_| ConnectionError::ConnectTimeout)??;
        let (sender, connection) = Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(ConnectionError::Http)?;
        // A connection error surfaces in the request that fails or in `is_open`.
        let io = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, io })
    }

    /// Whether the connection can carry another request: the reaper may have closed it since the last one.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Posts beats and waits for the reply. After an error the connection is unusable.
    pub(crate) async fn post(
        &mut self,
        host: &ServerName<'static>,
        authorization: HeaderValue,
        beats: &BeatRequest,
    ) -> Result<BeatReply, ConnectionError> {
        let body = serde_json::to_vec(beats).expect("numbers and enums always serialise");
        let mut request = Request::post(route::BEATS)
            .header(HOST, host.to_str().as_ref())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .expect("a server name, which is ASCII, makes a valid header");
        request.headers_mut().insert(AUTHORIZATION, authorization);
        timeout(TIMEOUT, self.exchange(request)).await.map_err(|_| ConnectionError::ReplyTimeout)?
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<BeatReply, ConnectionError> {
        self.sender.ready().await.map_err(ConnectionError::Exchange)?;
        let response = self.sender.send_request(request).await.map_err(ConnectionError::Exchange)?;
        if response.status() != StatusCode::OK {
            return Err(ConnectionError::Rejected(response.status()));
        }
        let body =
            Limited::new(response.into_body(), MAX_REPLY_BYTES).collect().await.map_err(ConnectionError::Body)?;
        serde_json::from_slice(&body.to_bytes()).map_err(ConnectionError::Reply)
    }
}

impl Drop for Connection {
    /// Hyper would first attempt a graceful shutdown, which takes a quarter of an hour if the network is cut.
    fn drop(&mut self) {
        self.io.abort();
    }
}
