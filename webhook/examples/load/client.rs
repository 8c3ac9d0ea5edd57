//! TLS to the server under load.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The name in the server's certificate.
pub(crate) const NAME: &str = "jobwarden-webhook.jobwarden.svc";

/// A server and the CA that its certificate is verified with.
#[derive(Clone)]
pub(crate) struct Server {
    address: String,
    connector: TlsConnector,
}

impl Server {
    /// The server at `address`, verified with the PEM file `ca`.
    pub(crate) fn new(address: &str, ca: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).with_context(|| format!("reading {ca}"))? {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { address: address.to_owned(), connector: TlsConnector::from(Arc::new(config)) })
    }

    /// A connection without TLS.
    pub(crate) async fn plain(&self) -> anyhow::Result<TcpStream> {
        let stream = TcpStream::connect(&self.address).await;
        let stream = stream.with_context(|| format!("connecting to {}", self.address))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A connection after the TLS handshake.
    pub(crate) async fn secure(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let stream = self.plain().await?;
        self.connector.connect(ServerName::try_from(NAME)?, stream).await.context("TLS handshake")
    }
}
