//! A serving certificate.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    sign::CertifiedKey,
};

use super::{
    DAY, Unusable, Validity,
    authority::Authority,
    certificate, secrets,
    secrets::{Contents, text},
    set_validity,
};
use jobwarden_inject::endpoint::service_name;

/// How long a leaf lasts; it is made anew when a third of that is left.
const LIFETIME: Duration = Duration::from_secs(90 * DAY.as_secs());

/// The DNS names that the certificate of a Service carries: the one that the API server and sidecars verify first, and one
/// for people and tools that dial the whole name in a cluster with the usual domain.
pub(super) fn names(service: &str, namespace: &str) -> [String; 2] {
    let name = service_name(service, namespace);
    let whole = format!("{name}.cluster.local");
    [name, whole]
}

/// Whether a client that trusts `authority` alone will take the certificate in a Secret for every one of `names`, and for
/// long enough. It is asked as a client would ask.
pub(super) fn check(
    contents: &Contents,
    authority: &Authority,
    names: &[String],
    now: SystemTime,
) -> Result<Leaf, Unusable> {
    let (chain_pem, key_pem) = (text(contents, secrets::CERTIFICATE)?, text(contents, secrets::KEY)?);
    if text(contents, secrets::AUTHORITY)? != authority.pem() {
        return Err(Unusable::OtherAuthority);
    }
    let leaf = certificate(chain_pem)?;
    check_pair(leaf.clone(), key_pem)?;
    for name in names {
        verify(&leaf, authority, name, now).map_err(|reason| Unusable::Refused { name: name.clone(), reason })?;
    }
    if Validity::of(&leaf)?.is_in_last_third(now) {
        return Err(Unusable::Expiring);
    }
    Ok(Leaf { chain_pem: chain_pem.to_owned(), key_pem: key_pem.to_owned() })
}

/// A certificate in good order, with its key.
pub(super) struct Leaf {
    pub(super) chain_pem: String,
    pub(super) key_pem: String,
}

/// A new one, as the contents of its Secret.
pub(super) fn make(authority: &Authority, names: &[String], now: SystemTime) -> Result<Contents, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    if let Some(name) = names.first() {
        params.distinguished_name.push(DnType::CommonName, name.as_str());
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, LIFETIME);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.signed_by(&key, &authority.issuer)?;
    Ok(secrets::contents([
        (secrets::CERTIFICATE, certificate.pem()),
        (secrets::KEY, key.serialize_pem()),
        (secrets::AUTHORITY, authority.pem().to_owned()),
    ]))
}

/// Whether the key belongs to the certificate.
pub(super) fn check_pair(certificate: CertificateDer<'static>, key_pem: &str) -> Result<(), Unusable> {
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| Unusable::NotPem(secrets::KEY))?;
    let pair = CertifiedKey::from_der(vec![certificate], key, &ring::default_provider());
    pair.map(drop).map_err(|_| Unusable::Pair)
}

fn verify(leaf: &CertificateDer<'_>, authority: &Authority, name: &str, now: SystemTime) -> Result<(), rustls::Error> {
    let general = |error: &dyn std::error::Error| rustls::Error::General(error.to_string());
    let mut roots = RootCertStore::empty();
    let anchor = certificate(authority.pem()).map_err(|error| general(&error))?;
    roots.add(anchor)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
        .build()
        .map_err(|error| general(&error))?;
    let name = ServerName::try_from(name).map_err(|error| general(&error))?;
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    verifier.verify_server_cert(leaf, &[], &name, &[], now).map(drop)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn now() -> SystemTime {
        UNIX_EPOCH + 20_000 * DAY
    }

    fn authority() -> Authority {
        Authority::read(&Authority::make(now()).expect("made"), now()).expect("usable")
    }

    #[test]
    fn a_new_leaf_is_taken_for_all_its_names() {
        let (authority, names) = (authority(), names("jobwarden-webhook", "jobwarden"));
        assert_eq!(names, ["jobwarden-webhook.jobwarden.svc", "jobwarden-webhook.jobwarden.svc.cluster.local"]);
        let contents = make(&authority, &names, now()).expect("made");
        check(&contents, &authority, &names, now()).expect("usable");
    }

    #[test]
    fn a_leaf_is_not_taken_for_another_name() {
        let authority = authority();
        let contents = make(&authority, &names("jobwarden-reaper", "jobwarden"), now()).expect("made");
        let checked = check(&contents, &authority, &names("jobwarden-webhook", "jobwarden"), now());
        assert!(matches!(checked, Err(Unusable::Refused { name, .. }) if name == "jobwarden-webhook.jobwarden.svc"));
    }

    #[rstest]
    #[case::with_its_authority_named(false)]
    #[case::with_ours_named(true)]
    fn a_leaf_of_another_authority_is_not_taken(#[case] claims_ours: bool) {
        let (authority, names) = (authority(), names("a", "b"));
        let mut contents = make(&self::authority(), &names, now()).expect("made");
        if claims_ours {
            contents.extend(secrets::contents([(secrets::AUTHORITY, authority.pem().to_owned())]));
        }
        match check(&contents, &authority, &names, now()) {
            Err(Unusable::OtherAuthority) => assert!(!claims_ours),
            Err(Unusable::Refused { .. }) => assert!(claims_ours),
            other => panic!("taken for {:?}", other.map(|_| "good")),
        }
    }

    #[rstest]
    #[case::in_its_prime(59, true)]
    #[case::in_its_last_third(61, false)]
    fn a_leaf_is_used_until_a_third_of_its_life_is_left(#[case] days: u32, #[case] usable: bool) {
        let (authority, names) = (authority(), names("a", "b"));
        let contents = make(&authority, &names, now()).expect("made");
        match check(&contents, &authority, &names, now() + days * DAY) {
            Ok(_) => assert!(usable),
            Err(Unusable::Expiring) => assert!(!usable),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_leaf_with_another_key_is_not_taken() {
        let (authority, names) = (authority(), names("a", "b"));
        let mut contents = make(&authority, &names, now()).expect("made");
        let other = make(&authority, &names, now()).expect("made");
        contents.insert(secrets::KEY.to_owned(), other[secrets::KEY].clone());
        assert!(matches!(check(&contents, &authority, &names, now()), Err(Unusable::Pair)));
    }
}
