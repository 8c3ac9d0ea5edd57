//! One sidecar's connection and its beats: the same requests that the real sidecar sends.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Bytes,
    client::conn::http1::{Builder, SendRequest},
};
use hyper_util::rt::TokioIo;
use jobwarden_common::{
    beat::{Beat, BeatReply, BeatRequest, Command, Phase},
    names::route,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The time between two beats of a sidecar.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// The smallest buffer that hyper allows, as in the real sidecar.
const BUFFER_BYTES: usize = 8 * 1024;

/// The reaper that receives the beats.
pub(crate) struct Reaper {
    address: String,
    name: ServerName<'static>,
    host: HeaderValue,
    connector: TlsConnector,
}

impl Reaper {
    /// The reaper at `address` with the server name `name`, whose certificate is verified with the PEM file `ca`.
    pub(crate) fn new(address: &str, name: &str, ca: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).with_context(|| format!("reading {ca}"))? {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self {
            address: address.to_owned(),
            name: ServerName::try_from(name.to_owned()).context("parsing the reaper's server name")?,
            host: HeaderValue::from_str(name)?,
            connector: TlsConnector::from(Arc::new(config)),
        })
    }
}

/// A connection after its handshake.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    authorization: HeaderValue,
    seq: u64,
}

impl Connection {
    pub(crate) async fn open(reaper: &Reaper, authorization: HeaderValue) -> anyhow::Result<Self> {
        let Reaper { address, name, host, connector } = reaper;
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        let stream = connector.connect(name.clone(), stream).await.context("TLS handshake")?;
        let (sender, connection) = Builder::new().max_buf_size(BUFFER_BYTES).handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: host.clone(), authorization, seq: 0 })
    }

    /// Sends one beat, and checks that the reaper has accepted it.
    pub(crate) async fn beat(&mut self) -> anyhow::Result<()> {
        let beat = BeatRequest { beats: vec![Beat { seq: self.seq, phase: Phase::Running }] };
        self.seq += 1;
        let request = Request::post(route::BEATS)
            .header(header::HOST, self.host.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, self.authorization.clone())
            .body(Full::from(serde_json::to_vec(&beat)?))?;
        self.sender.ready().await.context("the connection is closed")?;
        let response = self.sender.send_request(request).await.context("sending a beat")?;
        let status = response.status();
        let body = response.into_body().collect().await.context("reading the response")?.to_bytes();
        ensure!(status == StatusCode::OK, "a beat was answered with {status}: {}", String::from_utf8_lossy(&body));
        let reply: BeatReply = serde_json::from_slice(&body).context("parsing the reply to a beat")?;
        ensure!(reply.command == Command::Continue, "the reaper has ordered a live worker to stop");
        Ok(())
    }
}
