//! Opens the TCP or TLS connection to a broker.

use std::{io, path::Path, path::PathBuf, sync::Arc};

use jobwarden_serve::tls::{TlsError, client_config};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

use super::{
    credentials::CredentialsError,
    endpoint::Endpoint,
    stream::{BrokerStream, Disconnector},
};

/// Why no connection to a broker could be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There are no credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The TCP connection cannot be opened.
    #[error("cannot connect to {host}:{port}")]
    Tcp {
        /// The host of the URL.
        host: String,
        /// The port of the URL.
        port: u16,
        /// The cause.
        source: io::Error,
    },
    /// The CA file cannot be read.
    #[error("cannot read caFile {}", path.display())]
    ReadCa {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The CA certificates cannot be used.
    #[error("cannot use the CA certificates in caFile {}", path.display())]
    Ca {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: TlsError,
    },
    /// There are no CA certificates of the system, as in images `FROM scratch`.
    #[error("the system has no CA certificates; set caFile")]
    NoSystemCa,
    /// The host of the URL is no name that a certificate can have.
    #[error("{0} is not a host name or an address that a certificate can have")]
    Name(String),
    /// The TLS handshake failed.
    #[error("cannot open a TLS connection to {host}:{port}; check caFile and the names in the broker's certificate")]
    Tls {
        /// The host of the URL.
        host: String,
        /// The port of the URL.
        port: u16,
        /// The cause.
        source: io::Error,
    },
}

/// Opens a connection. The caller bounds the time.
pub(in crate::deliver) async fn connect(
    endpoint: &Endpoint,
    ca_file: Option<&Path>,
) -> Result<(BrokerStream, Disconnector), ConnectError> {
    let Endpoint { tls, host, port, .. } = endpoint;
    // Read before the connection is opened, so that the broker sees none that stays silent.
    let tls = if *tls { Some((tls_config(ca_file).await?, server_name(host)?)) } else { None };
    let failed = |source| ConnectError::Tcp { host: host.clone(), port: *port, source };
    let tcp = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
    // Messages are single writes, and each waits for its acknowledgement.
    tcp.set_nodelay(true).map_err(failed)?;
    let Some((config, name)) = tls else { return Ok(BrokerStream::plain(tcp)) };
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    tls.map(BrokerStream::tls).map_err(|source| ConnectError::Tls { host: host.clone(), port: *port, source })
}

fn server_name(host: &str) -> Result<ServerName<'static>, ConnectError> {
    ServerName::try_from(host.to_owned()).map_err(|_| ConnectError::Name(host.to_owned()))
}

/// Trusts the certificates of the file, or those of the system.
async fn tls_config(ca_file: Option<&Path>) -> Result<ClientConfig, ConnectError> {
    let Some(path) = ca_file else { return system_config().await };
    let read = tokio::fs::read_to_string(path).await;
    let pem = read.map_err(|source| ConnectError::ReadCa { path: path.to_owned(), source })?;
    let mut config = client_config(&pem).map_err(|source| ConnectError::Ca { path: path.to_owned(), source })?;
    // AMQP over TLS negotiates no protocol by name, and a broker may refuse one that it does not know.
    config.alpn_protocols.clear();
    Ok(config)
}

async fn system_config() -> Result<ClientConfig, ConnectError> {
    // Reads files. A panic of the task would be one of the library, and is treated like a system without certificates.
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let mut roots = RootCertStore::empty();
    // Systems carry certificates that are no trust anchors any more; those are left out, as browsers do.
    let (added, _) = roots.add_parsable_certificates(loaded.map(|loaded| loaded.certs).unwrap_or_default());
    if added == 0 {
        return Err(ConnectError::NoSystemCa);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3");
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
