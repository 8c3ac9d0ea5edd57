use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::check::{finding::Status, healthy};

fn problems(findings: Vec<Finding>) -> Vec<Finding> {
    findings.into_iter().filter(|finding| finding.status != Status::Ok).collect()
}

/// A healthy installation with one field of its second webhook changed.
fn changed(pointer: &str, value: Value) -> Snapshot {
    let mut snapshot = healthy::snapshot();
    let configurations = snapshot.configurations.as_mut().expect("available");
    let mut object = serde_json::to_value(&configurations[0]).expect("JSON");
    *object.pointer_mut(&format!("/webhooks/1{pointer}")).expect("it exists") = value;
    configurations[0] = serde_json::from_value(object).expect("a configuration");
    snapshot
}

#[test]
fn the_chart_installs_a_correct_configuration() {
    assert_eq!(problems(check(&healthy::snapshot())), []);
}

#[rstest]
#[case::operation("/rules/0/operations", json!(["CREATE", "UPDATE"]), "only CREATE")]
#[case::resource("/rules/0/resources", json!(["pods/exec"]), "no rule matches CREATE of pods")]
#[case::scope("/rules/0/scope", json!("*"), "not Namespaced")]
#[case::selector("/namespaceSelector/matchLabels", json!({}), "does not require jobwarden.io/inject=enabled")]
#[case::service("/clientConfig/service/namespace", json!("other"), "does not call /mutate/pods")]
#[case::path("/clientConfig/service/path", json!("/mutate/jobs"), "does not call /mutate/pods")]
#[case::timeout("/timeoutSeconds", json!(30), "30 s")]
#[case::reinvocation("/reinvocationPolicy", json!("Never"), "reinvocationPolicy")]
#[case::side_effects("/sideEffects", json!("Some"), "sideEffects")]
#[case::conditions("/matchConditions", json!([]), "every pod")]
#[case::name("/name", json!("other.jobwarden.io"), "has no webhook pods.jobwarden.io")]
fn each_deviation_is_named(#[case] pointer: &str, #[case] value: Value, #[case] named: &str) {
    let found = problems(check(&changed(pointer, value)));
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert_eq!(finding.status, Status::Failure);
    assert!(finding.message.contains(named), "{finding:?}");
}

#[test]
fn a_missing_configuration_is_named() {
    let mut snapshot = healthy::snapshot();
    snapshot.configurations = Ok(Vec::new());
    let found = problems(check(&snapshot));
    assert!(found[0].message.contains("MutatingWebhookConfiguration jobwarden not found"), "{found:?}");
}

#[rstest]
#[case::policy(|snapshot: &mut Snapshot| snapshot.policy = Ok(None), "ValidatingAdmissionPolicy jobwarden-sidecar not found")]
#[case::binding(|snapshot: &mut Snapshot| snapshot.binding = Ok(None), "ValidatingAdmissionPolicyBinding jobwarden-sidecar not found")]
#[case::audit(
    |snapshot: &mut Snapshot| {
        let binding = snapshot.binding.as_mut().expect("available").as_mut().expect("exists");
        binding.spec.as_mut().expect("a spec").validation_actions = Some(vec!["Audit".to_owned()]);
    },
    "does not deny"
)]
fn a_missing_policy_is_named(#[case] change: fn(&mut Snapshot), #[case] named: &str) {
    let mut snapshot = healthy::snapshot();
    change(&mut snapshot);
    let finding = policy(&snapshot);
    assert!(finding.status == Status::Failure && finding.message.contains(named), "{finding:?}");
}

#[test]
fn an_invalid_configuration_file_is_named_with_the_error() {
    let mut snapshot = healthy::snapshot();
    let map = snapshot.config.as_mut().expect("available").as_mut().expect("exists");
    map.data = Some([(FILE.to_owned(), "identity: {preset: airflow}".to_owned())].into());
    let finding = file(&snapshot);
    assert!(finding.status == Status::Failure && finding.message.contains("airflow"), "{finding:?}");
    assert!(finding.hint.is_some_and(|hint| hint.contains("edit configmap jobwarden-webhook")));
}

#[test]
fn the_settings_are_read_from_the_flags_of_the_webhook() {
    let mut snapshot = healthy::snapshot();
    healthy::replace_argument(&mut snapshot.webhook, "--sidecar-memory=", "48Mi");
    let settings = settings(&snapshot).expect("flags of this version");
    assert_eq!(settings.sidecar.memory.as_str(), "48Mi");
}
