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

/// For the TCP connection and the TLS handshake together, and then for each request.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest reply read. The only part of it that can be long is a CA bundle.
const MAX_REPLY_BYTES: usize = 64 * 1024;

/// The smallest buffer that hyper allows, for requests and replies are small.
const BUFFER_BYTES: usize = 8 * 1024;

/// Headers of a reply, at most; ours have three.
const MAX_HEADERS: usize = 32;

/// A connection that has been made. Dropping it closes it at once, whatever state it is in.
#[derive(Debug)]
pub(crate) struct Line {
    sender: SendRequest<Full<Bytes>>,
    io: JoinHandle<()>,
}

/// Why a beat was not answered.
#[derive(Debug, Error)]
pub(crate) enum LineError {
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("no TLS handshake")]
    Handshake(#[source] io::Error),
    #[error("no HTTP connection")]
    Http(#[source] hyper::Error),
    #[error("no connection after {} s", PATIENCE.as_secs())]
    ConnectTimeout,
    #[error("no answer after {} s", PATIENCE.as_secs())]
    AnswerTimeout,
    #[error("the connection broke")]
    Exchange(#[source] hyper::Error),
    #[error("the reaper answered {0}")]
    Refused(StatusCode),
    #[error("the answer broke off, or has more than {MAX_REPLY_BYTES} bytes")]
    Body(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the answer is no beat reply")]
    Reply(#[source] serde_json::Error),
}

impl Line {
    /// Connects to `address` (`host:port`) and makes sure that it is `server_name`.
    pub(crate) async fn open(
        address: &str,
        server_name: ServerName<'static>,
        tls: Arc<ClientConfig>,
    ) -> Result<Self, LineError> {
        let connect = async {
            let tcp = TcpStream::connect(address).await.map_err(LineError::Connect)?;
            // A beat is one small write; it must not wait for another.
            tcp.set_nodelay(true).map_err(LineError::Connect)?;
            TlsConnector::from(tls).connect(server_name, tcp).await.map_err(LineError::Handshake)
        };
        let stream = timeout(PATIENCE, connect).await.map_err(|_| LineError::ConnectTimeout)??;
        let (sender, connection) = Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(LineError::Http)?;
        // How it ends shows in the request that fails or in `is_open`.
        let io = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, io })
    }

    /// Whether a request can be tried on it: the reaper may have closed it since the last one.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Posts beats and waits for the answer. After an error the line is of no use.
    pub(crate) async fn post(
        &mut self,
        host: &ServerName<'static>,
        authorization: HeaderValue,
        beats: &BeatRequest,
    ) -> Result<BeatReply, LineError> {
        let body = serde_json::to_vec(beats).expect("numbers and words always serialise");
        let mut request = Request::post(route::BEATS)
            .header(HOST, host.to_str().as_ref())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .expect("a server name, which is ASCII, makes a valid header");
        request.headers_mut().insert(AUTHORIZATION, authorization);
        timeout(PATIENCE, self.exchange(request)).await.map_err(|_| LineError::AnswerTimeout)?
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<BeatReply, LineError> {
        self.sender.ready().await.map_err(LineError::Exchange)?;
        let response = self.sender.send_request(request).await.map_err(LineError::Exchange)?;
        if response.status() != StatusCode::OK {
            return Err(LineError::Refused(response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_REPLY_BYTES).collect().await.map_err(LineError::Body)?;
        serde_json::from_slice(&body.to_bytes()).map_err(LineError::Reply)
    }
}

impl Drop for Line {
    /// Hyper would first try to say goodbye, which takes a quarter of an hour on a cut cable.
    fn drop(&mut self) {
        self.io.abort();
    }
}
