//! HTTPS requests to a Service inside the cluster, with any token that a test wants to present.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context as _;
use http::request::Builder;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The server of a request.
pub struct Server<'a> {
    /// The loopback port that is forwarded to it.
    pub port: u16,
    /// The name in its certificate.
    pub name: &'a str,
    /// The CA certificate to trust, PEM.
    pub ca: &'a str,
}

/// A connection after its TLS handshake, for tests that send what no client would send.
pub async fn connect(server: &Server<'_>) -> anyhow::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(server.ca.as_bytes()) {
        roots.add(certificate.context("reading the CA")?)?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.context("connecting")?;
    let name = ServerName::try_from(server.name.to_owned()).context("parsing the server's name")?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.context("TLS handshake")
}

/// Posts JSON on a new connection and returns status and body.
pub async fn post(
    server: &Server<'_>,
    path: &str,
    token: Option<&str>,
    body: Vec<u8>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    Client::open(server).await?.post(path, token, body).await
}

/// Gets a path on a new connection and returns status and body.
pub async fn get(server: &Server<'_>, path: &str, token: Option<&str>) -> anyhow::Result<(StatusCode, Bytes)> {
    Client::open(server).await?.send(Request::get(path), token, Vec::new()).await
}

/// A kept-alive connection.
pub struct Client {
    requests: SendRequest<Full<Bytes>>,
    name: String,
}

impl Client {
    /// Connects.
    pub async fn open(server: &Server<'_>) -> anyhow::Result<Self> {
        let stream = connect(server).await?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.context("HTTP handshake")?;
        tokio::spawn(connection);
        Ok(Self { requests, name: server.name.to_owned() })
    }

    /// Posts JSON and returns status and body.
    pub async fn post(
        &mut self,
        path: &str,
        token: Option<&str>,
        body: Vec<u8>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        self.send(Request::post(path).header(header::CONTENT_TYPE, "application/json"), token, body).await
    }

    async fn send(
        &mut self,
        request: Builder,
        token: Option<&str>,
        body: Vec<u8>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = request.header(header::HOST, self.name.as_str());
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body))).context("building the request")?;
        let response = self.requests.send_request(request).await.context("sending the request")?;
        let status = response.status();
        let body = response.into_body().collect().await.context("reading the response")?.to_bytes();
        Ok((status, body))
    }
}
