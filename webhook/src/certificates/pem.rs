//! Certificates and keys in PEM.

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use super::{
    contents::{CERTIFICATE, KEY},
    error::Unusable,
};

/// The first certificate of a PEM text.
pub(super) fn certificate(pem: &str) -> Result<CertificateDer<'static>, Unusable> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| Unusable::NotPem(CERTIFICATE))
}

/// All certificates of a PEM text.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    read.map_err(|_| Unusable::NotPem(CERTIFICATE))
}

/// The first certificate of a PEM text, as PEM.
pub(super) fn first(pem: &str) -> Result<String, Unusable> {
    const END: &str = "-----END CERTIFICATE-----";
    let end = pem.find(END).ok_or(Unusable::NotPem(CERTIFICATE))?;
    Ok(pem[..end + END.len()].to_owned())
}

/// Checks that the key belongs to the certificate.
pub(super) fn check_pair(certificate: CertificateDer<'static>, key_pem: &str) -> Result<(), Unusable> {
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| Unusable::NotPem(KEY))?;
    let pair = CertifiedKey::from_der(vec![certificate], key, &ring::default_provider());
    pair.map(drop).map_err(|_| Unusable::Pair)
}
