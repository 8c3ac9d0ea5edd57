//! A certificate authority of this installation.

use std::time::SystemTime;

use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::{
    constraints,
    contents::KEY,
    error::Unusable,
    lifetime::{Terms, Validity},
    pem::{certificate, check_pair},
};

/// How many authorities may stand between this one and a leaf: the next one, which it cross-signs.
const BELOW: u8 = 1;

/// A certificate authority with its key.
#[derive(Debug)]
pub(super) struct Authority {
    name: String,
    pem: String,
    key_pem: String,
    validity: Validity,
    /// The domain outside which nobody accepts what it signs; `None` if it may sign for any name.
    domain: Option<String>,
    pub(super) issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The certificate, PEM.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// Its key, PEM.
    pub(super) fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Its validity period.
    pub(super) fn validity(&self) -> Validity {
        self.validity
    }

    /// Reads an authority that can still sign at `now`.
    pub(super) fn read(pem: &str, key_pem: &str, now: SystemTime) -> Result<Self, Unusable> {
        let der = certificate(pem)?;
        let validity = Validity::of(&der)?;
        if validity.is_over(now) {
            return Err(Unusable::Expiring);
        }
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|_| Unusable::NotACertificate)?;
        if !parsed.is_ca() {
            return Err(Unusable::NotAnAuthority);
        }
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let name = name.ok_or(Unusable::NotAnAuthority)?.to_owned();
        let domain = constraints::domain(&parsed);
        check_pair(der.clone(), key_pem)?;
        let key = KeyPair::from_pem(key_pem).map_err(|_| Unusable::NotPem(KEY))?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|_| Unusable::NotAnAuthority)?;
        Ok(Self { name, pem: pem.to_owned(), key_pem: key_pem.to_owned(), validity, domain, issuer })
    }

    /// Makes an authority. P-256 is the curve that every TLS library supports, with small signatures.
    pub(super) fn make(now: SystemTime, terms: Terms<'_>) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        // A distinct name, so that clients can tell two authorities apart.
        let made = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
        let name = format!("jobwarden {made:.0}");
        let validity = Validity::lasting(terms.lifetimes.authority, now);
        let params = params(&name, BELOW, validity, terms);
        let pem = params.self_signed(&key)?.pem();
        let key_pem = key.serialize_pem();
        let domain = Some(constraints::domain_of(terms.namespace));
        Ok(Self { name, pem, key_pem, validity, domain, issuer: Issuer::new(params, key) })
    }

    /// Whether it signs for the Services of this namespace only, and does not last longer than it should. If not, it has to be replaced:
    /// it is from an older version, or its lifetime has been set to less since.
    pub(super) fn fits(&self, terms: Terms<'_>) -> bool {
        let domain = constraints::domain_of(terms.namespace);
        self.domain == Some(domain) && !self.validity.exceeds(terms.lifetimes.authority)
    }

    /// Cross-signs the certificate of `next`, so that clients that know only this authority trust what `next` signs.
    pub(super) fn cross_sign(&self, next: &Self, terms: Terms<'_>) -> Result<String, rcgen::Error> {
        let not_after = self.validity.not_after.min(next.validity.not_after);
        // In this chain it signs leaves only.
        let mut params = params(&next.name, 0, Validity { not_after, ..next.validity }, terms);
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(next.issuer.key(), &self.issuer)?.pem())
    }
}

fn params(name: &str, below: u8, validity: Validity, terms: Terms<'_>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.name_constraints = Some(constraints::name_constraints(terms.namespace));
    validity.set(&mut params);
    params
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;
    use crate::certificates::{
        leaf,
        lifetime::{DAY, Lifetimes},
        tests::older::unconstrained,
    };

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + 20_000 * DAY
    }

    fn terms() -> Terms<'static> {
        Terms { namespace: "jobwarden", lifetimes: Lifetimes::default() }
    }

    fn made() -> Authority {
        Authority::make(now(), terms()).expect("made")
    }

    fn read(authority: &Authority, now: SystemTime) -> Result<Authority, Unusable> {
        Authority::read(&authority.pem, &authority.key_pem, now)
    }

    #[test]
    fn a_new_authority_is_usable() {
        let made = made();
        let authority = read(&made, now()).expect("usable");
        assert_eq!((authority.pem(), authority.validity), (made.pem(), made.validity));
        assert!(authority.fits(terms()));
    }

    #[test]
    fn an_expired_authority_is_unusable() {
        let later = now() + Lifetimes::default().authority;
        read(&made(), later - Duration::from_secs(1)).expect("usable until its last second");
        assert!(matches!(read(&made(), later), Err(Unusable::Expiring)));
    }

    #[test]
    fn an_authority_with_another_key_is_unusable() {
        let (authority, other) = (made(), made());
        assert!(matches!(Authority::read(&authority.pem, &other.key_pem, now()), Err(Unusable::Pair)));
    }

    #[test]
    fn a_leaf_is_not_an_authority() {
        let leaf = leaf::make(&made(), None, "a.jobwarden.svc", Lifetimes::default(), now()).expect("made");
        assert!(matches!(Authority::read(&leaf.chain_pem, &leaf.key_pem, now()), Err(Unusable::NotAnAuthority)));
    }

    #[test]
    fn an_authority_for_any_name_does_not_fit_but_is_usable() {
        let (pem, key_pem) = unconstrained(now(), 3650 * DAY);
        let authority = Authority::read(&pem, &key_pem, now()).expect("usable");
        assert!(!authority.fits(terms()));
    }

    #[rstest]
    #[case::the_webhook("jobwarden-webhook.jobwarden.svc", true)]
    #[case::the_reaper("jobwarden-reaper.jobwarden.svc", true)]
    #[case::another_namespace("payments.shop.svc", false)]
    #[case::the_api_server("kubernetes.default.svc", false)]
    #[case::a_namespace_that_ends_alike("jobwarden-webhook.evil-jobwarden.svc", false)]
    #[case::with_a_cluster_domain("jobwarden-reaper.jobwarden.svc.cluster.local", false)]
    #[case::the_internet("example.com", false)]
    #[case::an_address("10.96.0.1", false)]
    #[case::an_ipv6_address("fd00::1", false)]
    fn nobody_accepts_what_it_signs_outside_its_namespace(#[case] name: &str, #[case] accepted: bool) {
        let authority = made();
        let leaf = leaf::make(&authority, None, name, Lifetimes::default(), now()).expect("made");
        let verified = leaf.serves(authority.pem(), name, now());
        assert_eq!(verified.is_ok(), accepted, "{verified:?}");
        // A client that trusts the previous authority, which may sign for any name.
        let (pem, key_pem) = unconstrained(now(), 3650 * DAY);
        let previous = Authority::read(&pem, &key_pem, now()).expect("usable");
        let cross_signed = previous.cross_sign(&authority, terms()).expect("signed");
        let leaf = leaf::make(&authority, Some(&cross_signed), name, Lifetimes::default(), now()).expect("made");
        let verified = leaf.serves(&pem, name, now());
        assert_eq!(verified.is_ok(), accepted, "cross-signed: {verified:?}");
    }
}
