//! One sidecar's connection, and the beats over it: the same requests that the real one sends.

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

/// Time between two beats of a sidecar.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// The smallest buffer that hyper allows, as the sidecar has it.
const BUFFER_BYTES: usize = 8 * 1024;

/// Whom to beat to.
pub(crate) struct Reaper {
    address: String,
    name: ServerName<'static>,
    host: HeaderValue,
    connector: TlsConnector,
}

impl Reaper {
    /// At `address`, known by `name`, vouched for by the PEM file `ca`.
    pub(crate) fn new(address: &str, name: &str, ca: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).with_context(|| format!("reading {ca}"))? {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self {
            address: address.to_owned(),
            name: ServerName::try_from(name.to_owned()).context("the reaper's name")?,
            host: HeaderValue::from_str(name)?,
            connector: TlsConnector::from(Arc::new(config)),
        })
    }
}

/// A connection after its handshake.
pub(crate) struct Line {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    authorization: HeaderValue,
    seq: u64,
}

impl Line {
    pub(crate) async fn open(reaper: &Reaper, authorization: HeaderValue) -> anyhow::Result<Self> {
        let Reaper { address, name, host, connector } = reaper;
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        let stream = connector.connect(name.clone(), stream).await.context("TLS handshake")?;
        let (sender, connection) = Builder::new().max_buf_size(BUFFER_BYTES).handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: host.clone(), authorization, seq: 0 })
    }

    /// Beats once, and makes sure that the reaper has taken it.
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
        let body = response.into_body().collect().await.context("reading the answer")?.to_bytes();
        ensure!(status == StatusCode::OK, "a beat was answered {status}: {}", String::from_utf8_lossy(&body));
        let reply: BeatReply = serde_json::from_slice(&body).context("the answer is no beat reply")?;
        ensure!(reply.command == Command::Continue, "the reaper has given a pod up that beats");
        Ok(())
    }
}
