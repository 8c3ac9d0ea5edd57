//! What carries HTTP: TCP itself or TLS.

use std::{io, sync::Arc};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Turns an accepted TCP connection into a stream for HTTP.
pub trait Transport: Clone + Send + Sync + 'static {
    /// The stream of one connection.
    type Stream: Stream;

    /// Performs the handshake, if the transport has one.
    fn handshake(&self, tcp: TcpStream) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// The stream of one connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Waits until the peer sends something, without reading it; `false` if the peer has closed the connection.
    fn wait_readable(&mut self) -> impl Future<Output = io::Result<bool>> + Send;
}

/// Plain HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Transport for Plain {
    type Stream = TcpStream;

    async fn handshake(&self, tcp: TcpStream) -> io::Result<TcpStream> {
        Ok(tcp)
    }
}

impl Stream for TcpStream {
    async fn wait_readable(&mut self) -> io::Result<bool> {
        Ok(self.peek(&mut [0]).await? > 0)
    }
}

/// HTTPS.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    pub(super) fn new(config: Arc<ServerConfig>) -> Self {
        Self(TlsAcceptor::from(config))
    }
}

impl Transport for Tls {
    /// On the heap, so that handing it over moves a pointer only.
    type Stream = Box<TlsStream<TcpStream>>;

    async fn handshake(&self, tcp: TcpStream) -> io::Result<Self::Stream> {
        self.0.accept(tcp).await.map(Box::new)
    }
}

impl Stream for Box<TlsStream<TcpStream>> {
    async fn wait_readable(&mut self) -> io::Result<bool> {
        Ok(!self.fill_buf().await?.is_empty())
    }
}
