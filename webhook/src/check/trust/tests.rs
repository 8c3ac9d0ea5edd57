use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use rstest::rstest;

use super::*;
use crate::check::{finding::Status, sound};

fn worst(snapshot: &Snapshot) -> Vec<Finding> {
    check(snapshot).into_iter().filter(|finding| finding.status != Status::Ok).collect()
}

fn data(look: &mut Look<Option<Secret>>) -> &mut BTreeMap<String, ByteString> {
    look.as_mut().expect("seen").as_mut().expect("there").data.as_mut().expect("data")
}

#[test]
fn what_was_just_made_is_good() {
    assert_eq!(worst(&sound::snapshot()), []);
}

#[rstest]
#[case::renewed_at_a_third(61, &[])]
#[case::not_renewed(76, &[Status::Warning; 2])]
#[case::expired(91, &[Status::Failure; 2])]
fn certificates_are_judged_by_what_is_left(#[case] days: i64, #[case] expected: &[Status]) {
    let mut snapshot = sound::snapshot();
    snapshot.server.now += SignedDuration::from_hours(24 * days);
    let found = worst(&snapshot);
    assert_eq!(found.iter().map(|finding| finding.status).collect::<Vec<_>>(), expected, "{found:?}");
    let told = if days > 90 { "expired 24 h ago" } else { "should have been renewed" };
    assert!(found.iter().all(|finding| finding.what.contains(told) || finding.what.contains("1 days")), "{found:?}");
}

#[test]
fn a_secret_with_another_key_is_of_no_use() {
    let mut snapshot = sound::snapshot();
    let other = data(&mut snapshot.reaper_tls)["tls.key"].clone();
    data(&mut snapshot.webhook_tls).insert("tls.key".to_owned(), other);
    let found = worst(&snapshot);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].what.contains("its key does not belong to its certificate"), "{found:?}");
    let hint = found[0].hint.as_deref().expect("a hint");
    assert!(hint.contains("kubectl -n jobwarden delete secret jobwarden-webhook-tls"), "{hint}");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let mut snapshot = sound::snapshot();
    snapshot.webhook_tls = snapshot.reaper_tls.clone();
    let found = worst(&snapshot);
    assert!(found.iter().any(|finding| finding.what.contains("refuses its certificate")), "{found:?}");
}

#[test]
fn a_ca_bundle_of_somebody_else_is_named() {
    let mut snapshot = sound::snapshot();
    let other = sound::certificates(sound::now()).authority;
    let pem = other.data.expect("data").remove("tls.crt").expect("a certificate");
    let configurations = snapshot.configurations.as_mut().expect("seen");
    configurations[0].webhooks.as_mut().expect("webhooks")[1].client_config.ca_bundle = Some(pem);
    let found = worst(&snapshot);
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert!(finding.what.starts_with("the caBundle of pods.jobwarden.io"), "{finding:?}");
}

#[test]
fn an_empty_ca_bundle_is_named() {
    let mut snapshot = sound::snapshot();
    let configurations = snapshot.configurations.as_mut().expect("seen");
    for webhook in configurations[0].webhooks.as_mut().expect("webhooks") {
        webhook.client_config.ca_bundle = None;
    }
    let found = worst(&snapshot);
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|finding| finding.what.ends_with("it is empty")), "{found:?}");
}

#[test]
fn a_bundle_without_the_authority_is_named() {
    let mut snapshot = sound::snapshot();
    snapshot.authority = Ok(Some(sound::certificates(sound::now()).authority));
    let found = worst(&snapshot);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|finding| finding.what.ends_with("lacks the authority that signs")), "{found:?}");
}

#[test]
fn cert_manager_keeps_no_authority_here() {
    let mut snapshot = sound::snapshot();
    snapshot.authority = Ok(None);
    assert_eq!(worst(&snapshot).len(), 1);
    sound::arguments(&mut snapshot.webhook).push("--certificates=external".to_owned());
    assert_eq!(worst(&snapshot), []);
}

#[rstest]
#[case(endpoint_key::ADDRESS, "10.0.0.1:8444", "the Service is at")]
#[case(endpoint_key::CA, "", "does not trust the reaper")]
fn agents_that_are_misled_are_told_of(#[case] key: &str, #[case] value: &str, #[case] told: &str) {
    let mut snapshot = sound::snapshot();
    let map = snapshot.endpoint.as_mut().expect("seen").as_mut().expect("there");
    map.data.as_mut().expect("data").insert(key.to_owned(), value.to_owned());
    let found = worst(&snapshot);
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert!(finding.what.contains(told), "{finding:?}");
}
