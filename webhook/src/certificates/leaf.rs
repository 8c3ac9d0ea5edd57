//! A serving certificate.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::ring,
    pki_types::{ServerName, UnixTime},
};

use super::{
    authority::Authority,
    contents::{self, AUTHORITY, CERTIFICATE, Contents, KEY, text},
    error::Unusable,
    lifetime::{Lifetimes, Validity, unix_seconds},
    pem::{certificate, certificates, check_pair, first},
};

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// The certificate, followed by intermediate certificates, PEM.
    pub(super) chain_pem: String,
    /// The key, PEM.
    pub(super) key_pem: String,
}

impl Leaf {
    /// Reads the certificate in a Secret.
    pub(super) fn read(contents: &Contents) -> Result<Self, Unusable> {
        let leaf =
            Self { chain_pem: text(contents, CERTIFICATE)?.to_owned(), key_pem: text(contents, KEY)?.to_owned() };
        check_pair(certificate(&leaf.chain_pem)?, &leaf.key_pem)?;
        Ok(leaf)
    }

    /// The contents of a Secret, with the CA bundle for clients.
    pub(super) fn contents(&self, bundle: &str) -> Contents {
        contents::contents([
            (CERTIFICATE, self.chain_pem.clone()),
            (KEY, self.key_pem.clone()),
            (AUTHORITY, bundle.to_owned()),
        ])
    }

    /// When it expires.
    pub(super) fn not_after(&self) -> Result<SystemTime, Unusable> {
        Ok(Validity::of(&certificate(&self.chain_pem)?)?.not_after)
    }

    /// Verifies the certificate for the DNS name `name` at `now`, as a client that trusts `bundle` does.
    pub(super) fn serves(&self, bundle: &str, name: &str, now: SystemTime) -> Result<(), Unusable> {
        let chain: Vec<_> = certificates(&self.chain_pem)?;
        let (leaf, intermediates) = chain.split_first().ok_or(Unusable::NotPem(CERTIFICATE))?;
        let general = |error: &dyn std::error::Error| rustls::Error::General(error.to_string());
        let verify = || {
            let mut roots = RootCertStore::empty();
            for anchor in certificates(bundle).map_err(|error| general(&error))? {
                roots.add(anchor)?;
            }
            let provider = Arc::new(ring::default_provider());
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let verifier = verifier.map_err(|error| general(&error))?;
            let server = ServerName::try_from(name).map_err(|error| general(&error))?;
            let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
            verifier.verify_server_cert(leaf, intermediates, &server, &[], now).map(drop)
        };
        verify().map_err(|reason| Unusable::Refused { name: name.to_owned(), reason })
    }

    /// Checks that `authority` has signed the certificate for `name`, and that renewal is not due.
    pub(super) fn check(&self, authority: &Authority, name: &str, now: SystemTime) -> Result<(), Unusable> {
        // The leaf alone: a client that trusts the authority needs no intermediate.
        let alone = Self { chain_pem: first(&self.chain_pem)?, key_pem: self.key_pem.clone() };
        alone.serves(authority.pem(), name, now)?;
        let validity = Validity::of(&certificate(&self.chain_pem)?)?;
        // A leaf that ends with its authority cannot be extended; the next authority brings the next leaf.
        let ends_with_authority = unix_seconds(validity.not_after) >= unix_seconds(authority.validity().not_after);
        if validity.is_in_last_third(now) && !ends_with_authority {
            return Err(Unusable::Expiring);
        }
        Ok(())
    }
}

/// Makes a certificate for the DNS name `name`. `cross_signed` is the authority's certificate signed by the previous authority, for clients that know only
/// that one.
pub(super) fn make(
    authority: &Authority,
    cross_signed: Option<&str>,
    name: &str,
    lifetimes: Lifetimes,
    now: SystemTime,
) -> Result<Leaf, rcgen::Error> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let validity = Validity::lasting(lifetimes.leaf, now);
    // Clients reject a leaf whose authority has expired.
    Validity { not_after: validity.not_after.min(authority.validity().not_after), ..validity }.set(&mut params);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.signed_by(&key, &authority.issuer)?;
    let chain_pem = [certificate.pem().as_str(), cross_signed.unwrap_or_default()].concat();
    Ok(Leaf { chain_pem, key_pem: key.serialize_pem() })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::certificates::lifetime::{DAY, Terms};

    const LIFETIMES: Lifetimes = Lifetimes { authority: DAY.saturating_mul(365), leaf: DAY.saturating_mul(90) };
    const TERMS: Terms<'_> = Terms { namespace: "jobwarden", lifetimes: LIFETIMES };
    const NAME: &str = "jobwarden-webhook.jobwarden.svc";

    fn now() -> SystemTime {
        UNIX_EPOCH + 20_000 * DAY
    }

    fn authority() -> Authority {
        Authority::make(now(), TERMS).expect("made")
    }

    fn leaf(authority: &Authority, name: &str) -> Leaf {
        make(authority, None, name, LIFETIMES, now()).expect("made")
    }

    #[test]
    fn a_new_leaf_is_valid_for_its_name() {
        let authority = authority();
        let leaf = leaf(&authority, NAME);
        leaf.check(&authority, NAME, now()).expect("usable");
        assert_eq!(Leaf::read(&leaf.contents("bundle")).expect("complete"), leaf);
    }

    #[test]
    fn a_leaf_is_rejected_for_another_name() {
        let authority = authority();
        let checked = leaf(&authority, "jobwarden-reaper.jobwarden.svc").check(&authority, NAME, now());
        assert!(matches!(checked, Err(Unusable::Refused { name, .. }) if name == NAME));
    }

    #[test]
    fn a_leaf_of_another_authority_is_rejected() {
        let checked = leaf(&authority(), NAME).check(&authority(), NAME, now());
        assert!(matches!(checked, Err(Unusable::Refused { .. })));
    }

    #[rstest]
    #[case::before(59, true)]
    #[case::after(61, false)]
    fn a_leaf_is_used_until_a_third_of_its_lifetime_is_left(#[case] days: u32, #[case] usable: bool) {
        let authority = authority();
        match leaf(&authority, NAME).check(&authority, NAME, now() + days * DAY) {
            Ok(()) => assert!(usable),
            Err(Unusable::Expiring) => assert!(!usable),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_leaf_does_not_outlive_its_authority() {
        let lifetimes = Lifetimes { authority: DAY, ..LIFETIMES };
        let authority = Authority::make(now(), Terms { lifetimes, ..TERMS }).expect("made");
        assert_eq!(leaf(&authority, NAME).not_after().expect("a certificate"), authority.validity().not_after);
    }

    #[test]
    fn a_leaf_with_another_key_is_rejected() {
        let authority = authority();
        let mut contents = leaf(&authority, NAME).contents(authority.pem());
        let other = leaf(&authority, NAME).contents(authority.pem());
        contents.insert(KEY.to_owned(), other[KEY].clone());
        assert!(matches!(Leaf::read(&contents), Err(Unusable::Pair)));
    }
}
