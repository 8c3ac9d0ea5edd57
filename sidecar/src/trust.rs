//! Which CAs may sign the reaper's certificate: the current bundle, and a newer one until a handshake has confirmed it.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use thiserror::Error;

/// A CA bundle and the TLS configuration built from it.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    pem: String,
    tls: Arc<ClientConfig>,
}

/// Why a text is not a valid CA bundle.
#[derive(Debug, Error)]
pub(crate) enum BundleError {
    #[error("invalid PEM: {0}")]
    Pem(rustls::pki_types::pem::Error),
    #[error("no certificate found")]
    Empty,
    #[error("a certificate cannot be used as a root, or this build has no TLS 1.3: {0}")]
    Tls(#[from] rustls::Error),
}

impl Bundle {
    /// Parses a bundle of one or more certificates.
    pub(crate) fn from_pem(pem: String) -> Result<Self, BundleError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate.map_err(BundleError::Pem)?)?;
        }
        if roots.is_empty() {
            return Err(BundleError::Empty);
        }
        let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // One connection lasts for hours: session tickets would cost memory and save one cheap handshake a day.
        tls.resumption = Resumption::disabled();
        Ok(Self { pem, tls: Arc::new(tls) })
    }
}

/// The current bundle, and a newer candidate that the reaper sent over a trusted connection.
#[derive(Debug)]
pub(crate) struct Trust {
    current: Bundle,
    candidate: Option<Bundle>,
}

impl Trust {
    pub(crate) fn new(current: Bundle) -> Self {
        Self { current, candidate: None }
    }

    /// The TLS configuration for the next connection.
    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.candidate.as_ref().unwrap_or(&self.current).tls)
    }

    /// Accepts a newer bundle, used from the next connection on. An invalid bundle is an error and changes nothing.
    pub(crate) fn offer(&mut self, pem: String) -> Result<(), BundleError> {
        let latest = self.candidate.as_ref().unwrap_or(&self.current);
        if latest.pem == pem {
            return Ok(());
        }
        self.candidate = if self.current.pem == pem { None } else { Some(Bundle::from_pem(pem)?) };
        Ok(())
    }

    /// Records a successful handshake: it confirms a candidate, which replaces the current bundle.
    pub(crate) fn handshake_succeeded(&mut self) {
        if let Some(bundle) = self.candidate.take() {
            self.current = bundle;
        }
    }

    /// Records a failed handshake. If the server's certificate was not trusted, a candidate is dropped: the current bundle may
    /// still work, and without a working bundle this pod could never receive another.
    pub(crate) fn handshake_failed(&mut self, error: &io::Error) {
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
        if matches!(cause, Some(rustls::Error::InvalidCertificate(_))) {
            self.candidate = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use super::*;

    fn pem() -> String {
        rcgen::generate_simple_self_signed(["ca".to_owned()]).expect("a valid name").cert.pem()
    }

    fn trust_with_candidate() -> (Trust, String, String) {
        let (old, new) = (pem(), pem());
        let mut trust = Trust::new(Bundle::from_pem(old.clone()).expect("a bundle"));
        trust.offer(new.clone()).expect("a bundle");
        (trust, old, new)
    }

    fn untrusted() -> io::Error {
        io::Error::other(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }

    #[test]
    fn a_successful_handshake_replaces_the_current_bundle_with_the_candidate() {
        let (mut trust, _, new) = trust_with_candidate();
        trust.handshake_succeeded();
        trust.handshake_failed(&untrusted());
        assert_eq!(trust.current.pem, new);
    }

    #[test]
    fn an_untrusted_certificate_drops_the_candidate() {
        let (mut trust, old, _) = trust_with_candidate();
        trust.handshake_failed(&untrusted());
        assert!(Arc::ptr_eq(&trust.tls(), &trust.current.tls));
        assert_eq!(trust.current.pem, old);
    }

    #[test]
    fn a_connection_reset_keeps_the_candidate() {
        let (mut trust, ..) = trust_with_candidate();
        trust.handshake_failed(&io::ErrorKind::ConnectionReset.into());
        assert!(trust.candidate.is_some());
    }

    #[test]
    fn a_bundle_sent_with_every_beat_is_parsed_once() {
        let (mut trust, old, new) = trust_with_candidate();
        let before = trust.tls();
        trust.offer(new).expect("known");
        assert!(Arc::ptr_eq(&before, &trust.tls()));
        trust.offer(old).expect("known");
        assert!(trust.candidate.is_none());
    }

    #[test]
    fn an_invalid_bundle_changes_nothing() {
        let (mut trust, _, new) = trust_with_candidate();
        trust.offer("not PEM".to_owned()).expect_err("no bundle");
        trust.handshake_succeeded();
        assert_eq!(trust.current.pem, new);
    }
}
