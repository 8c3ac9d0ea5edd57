//! What older versions made.

use std::time::{Duration, SystemTime};

use jobwarden_inject::endpoint::service_name;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose};

use serde_json::json;

use super::{CA, REAPER, WEBHOOK, assert_trusted, contents, empty, installed, live_bundle, now, replica, terms};
use crate::certificates::{
    authority::Authority,
    contents::{self as data, Contents},
    leaf,
    lifetime::{DAY, Lifetimes, Validity},
};

/// An authority without name constraints: certificate and key, PEM.
pub(in crate::certificates) fn unconstrained(now: SystemTime, lifetime: Duration) -> (String, String) {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "jobwarden 2026-01-01T00:00:00Z");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Validity::lasting(lifetime, now).set(&mut params);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("key generation succeeds");
    (params.self_signed(&key).expect("signing succeeds").pem(), key.serialize_pem())
}

#[tokio::test]
async fn the_authority_of_an_older_version_is_replaced_without_an_outage() {
    let server = installed();
    // It has ten years, of which two have passed, and signs for any name.
    let (pem, key_pem) = unconstrained(now() - 730 * DAY, 3650 * DAY);
    let old = Authority::read(&pem, &key_pem, now()).expect("usable");
    let put = |path: &str, data: Contents| {
        let mut object = empty(path);
        object["data"] = json!(data);
        object["type"] = json!("kubernetes.io/tls");
        server.put(path, object);
    };
    put(CA, data::contents([("tls.crt", pem.clone()), ("tls.key", key_pem)]));
    for (path, service) in [(WEBHOOK, "jobwarden-webhook"), (REAPER, "jobwarden-reaper")] {
        let leaf = leaf::make(&old, None, &service_name(service, "jobwarden"), Lifetimes::default(), now());
        put(path, leaf.expect("made").contents(&pem));
    }
    let (mut one, mut other) = (replica(&server), replica(&server));
    let mut bundles = vec![pem.clone()];
    for hour in 0..4 * 24 {
        let time = now() + Duration::from_hours(hour);
        let replica = if hour % 2 == 0 { &mut one } else { &mut other };
        replica.controller.reconcile(time).await.expect("a pass");
        let live = live_bundle(&server);
        // Also a sidecar that knows the authority of its admission only.
        for bundle in [&live, bundles.last().expect("never empty"), &pem] {
            assert_trusted(&server, WEBHOOK, "jobwarden-webhook", bundle, time);
            assert_trusted(&server, REAPER, "jobwarden-reaper", bundle, time);
        }
        if bundles.last() != Some(&live) {
            bundles.push(live);
        }
    }
    let [_, announced, switched, new] = &bundles[..] else { panic!("{} bundles", bundles.len()) };
    assert!([announced, switched].iter().all(|both| both.contains(&pem) && both.contains(new)));
    assert!(!new.contains(&pem));
    let held = contents(&server.get(CA));
    let text = |key: &str| String::from_utf8(held[key].0.clone()).expect("PEM");
    let authority = Authority::read(&text("tls.crt"), &text("tls.key"), now()).expect("usable");
    assert!(authority.fits(terms(Lifetimes::default())));
    // Nothing but the new authority's own lifetime is waited for from now on.
    other.controller.reconcile(now() + 200 * DAY).await.expect("a pass");
    assert_eq!(contents(&server.get(CA))["tls.crt"], held["tls.crt"]);
}
