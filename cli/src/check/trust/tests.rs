use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use rstest::rstest;

use super::*;
use crate::check::{finding::Status, healthy};

fn problems(snapshot: &Snapshot) -> Vec<Finding> {
    check(snapshot).into_iter().filter(|finding| finding.status != Status::Ok).collect()
}

fn data(lookup: &mut Lookup<Option<Secret>>) -> &mut BTreeMap<String, ByteString> {
    lookup.as_mut().expect("available").as_mut().expect("exists").data.as_mut().expect("data")
}

#[test]
fn new_certificates_are_valid() {
    assert_eq!(problems(&healthy::snapshot()), []);
}

#[rstest]
#[case::due_but_not_overdue(61, &[])]
#[case::overdue(76, &[Status::Warning; 2])]
#[case::expired(91, &[Status::Failure; 2])]
fn the_severity_depends_on_the_remaining_lifetime(#[case] days: i64, #[case] expected: &[Status]) {
    let mut snapshot = healthy::snapshot();
    snapshot.server.now += SignedDuration::from_hours(24 * days);
    let found = problems(&snapshot);
    assert_eq!(found.iter().map(|finding| finding.status).collect::<Vec<_>>(), expected, "{found:?}");
    let text = if days > 90 { "expired 24 h ago" } else { "has not been renewed" };
    assert!(
        found.iter().all(|finding| finding.message.contains(text) || finding.message.contains("1 days")),
        "{found:?}"
    );
}

#[test]
fn a_secret_with_another_key_is_unusable() {
    let mut snapshot = healthy::snapshot();
    let other = data(&mut snapshot.reaper_tls)["tls.key"].clone();
    data(&mut snapshot.webhook_tls).insert("tls.key".to_owned(), other);
    let found = problems(&snapshot);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message.contains("its key does not belong to its certificate"), "{found:?}");
    let hint = found[0].hint.as_deref().expect("a hint");
    assert!(hint.contains("kubectl -n jobwarden patch secret jobwarden-webhook-tls --type=merge"), "{hint}");
    assert!(hint.ends_with(r#"--patch='{"data":{"tls.crt":""}}'"#), "{hint}");
}

#[test]
fn a_deleted_object_that_the_webhook_fills_is_to_be_created_empty() {
    let mut snapshot = healthy::snapshot();
    (snapshot.authority, snapshot.webhook_tls) = (Ok(None), Ok(None));
    (snapshot.reaper_tls, snapshot.endpoint) = (Ok(None), Ok(None));
    let found = problems(&snapshot);
    let hints: Vec<_> = found.iter().filter_map(|finding| finding.hint.as_deref()?.lines().last()).collect();
    let expected = [
        "secret generic jobwarden-webhook-tls",
        "secret generic jobwarden-reaper-tls",
        "secret generic jobwarden-ca",
        "configmap jobwarden-reaper-endpoint",
    ];
    assert_eq!(hints, expected.map(|object| format!("kubectl -n jobwarden create {object}")), "{found:?}");
}

#[test]
fn a_certificate_for_another_name_is_a_failure() {
    let mut snapshot = healthy::snapshot();
    snapshot.webhook_tls = snapshot.reaper_tls.clone();
    let found = problems(&snapshot);
    assert!(found.iter().any(|finding| finding.message.contains("does not verify")), "{found:?}");
}

#[test]
fn a_ca_bundle_of_another_authority_is_named() {
    let mut snapshot = healthy::snapshot();
    let other = healthy::certificates(healthy::now()).authority;
    let pem = other.data.expect("data").remove("tls.crt").expect("a certificate");
    let configurations = snapshot.configurations.as_mut().expect("available");
    configurations[0].webhooks.as_mut().expect("webhooks")[1].client_config.ca_bundle = Some(pem);
    let found = problems(&snapshot);
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert!(finding.message.starts_with("the caBundle of pods.jobwarden.io"), "{finding:?}");
}

#[test]
fn an_empty_ca_bundle_is_named() {
    let mut snapshot = healthy::snapshot();
    let configurations = snapshot.configurations.as_mut().expect("available");
    for webhook in configurations[0].webhooks.as_mut().expect("webhooks") {
        webhook.client_config.ca_bundle = None;
    }
    let found = problems(&snapshot);
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|finding| finding.message.ends_with("it is empty")), "{found:?}");
}

#[test]
fn a_bundle_without_the_authority_is_named() {
    let mut snapshot = healthy::snapshot();
    snapshot.authority = Ok(Some(healthy::certificates(healthy::now()).authority));
    let found = problems(&snapshot);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|finding| finding.message.ends_with("lacks the current authority")), "{found:?}");
}

#[test]
fn external_certificates_need_no_authority_secret() {
    let mut snapshot = healthy::snapshot();
    snapshot.authority = Ok(None);
    assert_eq!(problems(&snapshot).len(), 1);
    healthy::arguments(&mut snapshot.webhook).push("--certificates=external".to_owned());
    assert_eq!(problems(&snapshot), []);
}

#[rstest]
#[case(endpoint_key::ADDRESS, "10.0.0.1:8444", "that of the Service is")]
#[case(endpoint_key::CA, "", "does not verify the reaper")]
fn a_wrong_endpoint_is_a_failure(#[case] key: &str, #[case] value: &str, #[case] part: &str) {
    let mut snapshot = healthy::snapshot();
    let map = snapshot.endpoint.as_mut().expect("available").as_mut().expect("exists");
    map.data.as_mut().expect("data").insert(key.to_owned(), value.to_owned());
    let found = problems(&snapshot);
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert!(finding.message.contains(part), "{finding:?}");
}
