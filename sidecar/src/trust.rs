//! Whom to believe that they are the reaper: the CA bundle at hand, and a newer one until it has proved itself.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use thiserror::Error;

/// A CA bundle and the TLS settings made of it.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    pem: String,
    tls: Arc<ClientConfig>,
}

/// Why a text is no CA bundle.
#[derive(Debug, Error)]
pub(crate) enum BundleError {
    #[error("it cannot be read: {0}")]
    Pem(rustls::pki_types::pem::Error),
    #[error("it has no certificate")]
    Empty,
    #[error("it has a certificate that cannot be a root, or this build has no TLS 1.3: {0}")]
    Tls(#[from] rustls::Error),
}

impl Bundle {
    /// Reads a bundle of one or more certificates.
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
        // One connection lasts for hours. Tickets would cost memory for the one handshake in a day they make cheaper.
        tls.resumption = Resumption::disabled();
        Ok(Self { pem, tls: Arc::new(tls) })
    }
}

/// The bundle in use, and a newer one that the reaper sent over a connection we trusted.
#[derive(Debug)]
pub(crate) struct Trust {
    current: Bundle,
    offered: Option<Bundle>,
}

impl Trust {
    pub(crate) fn new(current: Bundle) -> Self {
        Self { current, offered: None }
    }

    /// The settings for the next connection.
    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.offered.as_ref().unwrap_or(&self.current).tls)
    }

    /// Takes a newer bundle, to be used from the next connection on. What is no bundle is refused, and nothing changes.
    pub(crate) fn offer(&mut self, pem: String) -> Result<(), BundleError> {
        let known = self.offered.as_ref().unwrap_or(&self.current);
        if known.pem == pem {
            return Ok(());
        }
        self.offered = if self.current.pem == pem { None } else { Some(Bundle::from_pem(pem)?) };
        Ok(())
    }

    /// A handshake succeeded: an offered bundle has proved itself and replaces the one before.
    pub(crate) fn proved(&mut self) {
        if let Some(bundle) = self.offered.take() {
            self.current = bundle;
        }
    }

    /// A handshake failed. If it failed because the server was not trusted, an offered bundle is dropped again: the one
    /// before may still do, and without it this pod could never be told of a better one.
    pub(crate) fn failed(&mut self, error: &io::Error) {
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
        if matches!(cause, Some(rustls::Error::InvalidCertificate(_))) {
            self.offered = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use super::*;

    fn pem() -> String {
        rcgen::generate_simple_self_signed(["ca".to_owned()]).expect("a name is enough").cert.pem()
    }

    fn trust_with_offer() -> (Trust, String, String) {
        let (old, new) = (pem(), pem());
        let mut trust = Trust::new(Bundle::from_pem(old.clone()).expect("a bundle"));
        trust.offer(new.clone()).expect("a bundle");
        (trust, old, new)
    }

    fn untrusted() -> io::Error {
        io::Error::other(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }

    #[test]
    fn a_newer_bundle_replaces_the_old_one_once_it_proved_itself() {
        let (mut trust, _, new) = trust_with_offer();
        trust.proved();
        trust.failed(&untrusted());
        assert_eq!(trust.current.pem, new);
    }

    #[test]
    fn a_newer_bundle_that_does_not_fit_the_server_gives_way_to_the_old_one() {
        let (mut trust, old, _) = trust_with_offer();
        trust.failed(&untrusted());
        assert!(Arc::ptr_eq(&trust.tls(), &trust.current.tls));
        assert_eq!(trust.current.pem, old);
    }

    #[test]
    fn a_broken_connection_says_nothing_of_the_bundle() {
        let (mut trust, ..) = trust_with_offer();
        trust.failed(&io::ErrorKind::ConnectionReset.into());
        assert!(trust.offered.is_some());
    }

    #[test]
    fn a_bundle_that_is_offered_again_with_every_beat_is_read_once() {
        let (mut trust, old, new) = trust_with_offer();
        let before = trust.tls();
        trust.offer(new).expect("known");
        assert!(Arc::ptr_eq(&before, &trust.tls()));
        trust.offer(old).expect("known");
        assert!(trust.offered.is_none());
    }

    #[test]
    fn rubbish_changes_nothing() {
        let (mut trust, _, new) = trust_with_offer();
        trust.offer("rubbish".to_owned()).expect_err("no bundle");
        trust.proved();
        assert_eq!(trust.current.pem, new);
    }
}
