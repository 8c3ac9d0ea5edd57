//! A certificate authority that issues certificates for the fake reaper.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// The DNS name in the fake reaper's certificates.
pub(crate) const SERVER_NAME: &str = "jobwarden-reaper.jobwarden.svc";

/// A new certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, key()).expect("can be signed"))
    }

    /// The CA certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// The TLS configuration of a server whose certificate this authority issued.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let key = key();
        let certificate = CertificateParams::new([SERVER_NAME.to_owned()])
            .and_then(|params| params.signed_by(&key, &self.0))
            .expect("can be signed");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("key and certificate belong together");
        Arc::new(config)
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("the system gives random numbers")
}
