//! The certificate authority of this installation.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::{
    DAY, Unusable, Validity, certificate, leaf, secrets,
    secrets::{Contents, text},
    set_validity,
};

/// How long an authority lasts. Every sidecar that runs has to trust it, so it is changed rarely.
const LIFETIME: Duration = Duration::from_secs(3650 * DAY.as_secs());

/// A certificate authority with its key.
pub(super) struct Authority {
    pem: String,
    pub(super) issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The certificate, PEM.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// Reads the one in a Secret, if it can still sign at `now`.
    pub(super) fn read(contents: &Contents, now: SystemTime) -> Result<Self, Unusable> {
        let pem = text(contents, secrets::CERTIFICATE)?;
        let key_pem = text(contents, secrets::KEY)?;
        let der = certificate(pem)?;
        if Validity::of(&der)?.is_over(now) {
            return Err(Unusable::Expiring);
        }
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|_| Unusable::NotACertificate)?;
        if !parsed.is_ca() {
            return Err(Unusable::NotAnAuthority);
        }
        leaf::check_pair(der.clone(), key_pem)?;
        let key = KeyPair::from_pem(key_pem).map_err(|_| Unusable::NotPem(secrets::KEY))?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|_| Unusable::NotAnAuthority)?;
        Ok(Self { pem: pem.to_owned(), issuer })
    }

    /// A new one, as the contents of its Secret. P-256: the curve that every TLS library has, with small signatures.
    pub(super) fn make(now: SystemTime) -> Result<Contents, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "jobwarden");
        // It signs leaves and nothing below them.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        set_validity(&mut params, now, LIFETIME);
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.self_signed(&key)?;
        Ok(secrets::contents([(secrets::CERTIFICATE, certificate.pem()), (secrets::KEY, key.serialize_pem())]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + 20_000 * DAY
    }

    #[test]
    fn a_new_authority_can_be_used() {
        let contents = Authority::make(now()).expect("made");
        let authority = Authority::read(&contents, now()).expect("usable");
        assert_eq!(authority.pem().as_bytes(), contents[secrets::CERTIFICATE].0);
    }

    #[test]
    fn an_expired_authority_cannot() {
        let contents = Authority::make(now() - LIFETIME).expect("made");
        assert!(matches!(Authority::read(&contents, now()), Err(Unusable::Expiring)));
    }

    #[test]
    fn a_certificate_without_its_own_key_cannot() {
        let mut contents = Authority::make(now()).expect("made");
        let other = Authority::make(now()).expect("made");
        contents.insert(secrets::KEY.to_owned(), other[secrets::KEY].clone());
        assert!(matches!(Authority::read(&contents, now()), Err(Unusable::Pair)));
    }

    #[test]
    fn a_leaf_is_no_authority() {
        let authority = Authority::read(&Authority::make(now()).expect("made"), now()).expect("usable");
        let leaf = leaf::make(&authority, &["a.b.svc".to_owned()], now()).expect("made");
        assert!(matches!(Authority::read(&leaf, now()), Err(Unusable::NotAnAuthority)));
    }

    #[test]
    fn an_empty_secret_cannot() {
        assert!(matches!(Authority::read(&Contents::new(), now()), Err(Unusable::Missing(secrets::CERTIFICATE))));
    }
}
