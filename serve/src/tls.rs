//! Certificates: that of this process, which is replaced while it serves, and those that it trusts.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::error::X509Error;

/// The only supported protocol, by its ALPN name (RFC 7301).
const HTTP_1_1: &[u8] = b"http/1.1";

/// Why a certificate, key or CA bundle was rejected.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The chain or bundle is not PEM.
    #[error("cannot read certificates from the PEM text")]
    CertificatePem(#[source] pem::Error),
    /// The chain or bundle is empty.
    #[error("the PEM text contains no certificate; at least one BEGIN CERTIFICATE block is required")]
    NoCertificate,
    /// The key is missing or is not PEM.
    #[error("cannot read a private key from the PEM text")]
    KeyPem(#[source] pem::Error),
    /// The key does not match the certificate, or its type is not supported.
    #[error("the private key does not match the certificate")]
    Pair(#[source] rustls::Error),
    /// The leaf certificate is not X.509.
    #[error("cannot read the validity of the certificate")]
    Validity(#[source] x509_parser::nom::Err<X509Error>),
    /// A certificate is not usable as a CA.
    #[error("a certificate of the CA bundle cannot be used as a trust anchor")]
    Anchor(#[source] rustls::Error),
    /// The crypto provider lacks a protocol version.
    #[error("the crypto provider supports neither TLS 1.2 nor TLS 1.3")]
    Versions(#[source] rustls::Error),
}

/// Makes ring the crypto provider of this process, which kube's client needs. Call this first in `main`; a second call changes
/// nothing.
pub fn install_crypto_provider() {
    // The error is the provider that is already installed, which serves as well.
    let _ = ring::default_provider().install_default();
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificate and key that a server presents. Clones share them, and the next handshake uses a replaced pair.
#[derive(Clone, Default)]
pub struct ServerIdentity(Arc<ArcSwapOption<Pair>>);

struct Pair {
    certified: Arc<CertifiedKey>,
    not_after: Option<Timestamp>,
}

impl ServerIdentity {
    /// No certificate yet: handshakes fail until there is one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Presents this chain (leaf first) and key from now on. After an error the previous pair stays in use.
    pub fn set_pem(&self, chain_pem: impl AsRef<[u8]>, key_pem: impl AsRef<[u8]>) -> Result<(), TlsError> {
        let chain = certificates(chain_pem.as_ref())?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_ref()).map_err(TlsError::KeyPem)?;
        let not_after = not_after(&chain[0])?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(TlsError::Pair)?;
        self.0.store(Some(Arc::new(Pair { certified: Arc::new(certified), not_after })));
        Ok(())
    }

    /// When the leaf certificate expires; `None` without a certificate, or if the time is beyond the range of a timestamp.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.0.load().as_ref()?.not_after
    }

    /// The configuration of a server that presents the pair which is current at the time of a handshake.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Arc::new(config)
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().as_ref().map(|pair| Arc::clone(&pair.certified))
    }
}

/// Does not show the key.
impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity").field("not_after", &self.not_after()).finish()
    }
}

/// The configuration of an HTTP/1.1 client that trusts only the certificates of this bundle.
pub fn client_config(ca_pem: &str) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_pem.as_bytes())? {
        roots.add(certificate).map_err(TlsError::Anchor)?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(config)
}

/// At least one certificate.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(TlsError::CertificatePem)?;
    if found.is_empty() { Err(TlsError::NoCertificate) } else { Ok(found) }
}

fn not_after(leaf: &CertificateDer<'_>) -> Result<Option<Timestamp>, TlsError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(TlsError::Validity)?;
    Ok(Timestamp::from_second(parsed.validity().not_after.timestamp()).ok())
}

#[cfg(test)]
pub(crate) mod issued;
#[cfg(test)]
mod tests;
