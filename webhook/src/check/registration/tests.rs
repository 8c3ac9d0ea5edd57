use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::check::{finding::Status, sound};

fn bad(findings: Vec<Finding>) -> Vec<Finding> {
    findings.into_iter().filter(|finding| finding.status != Status::Ok).collect()
}

/// The sound one with a member of its second webhook changed.
fn changed(pointer: &str, value: Value) -> Snapshot {
    let mut snapshot = sound::snapshot();
    let configurations = snapshot.configurations.as_mut().expect("seen");
    let mut object = serde_json::to_value(&configurations[0]).expect("JSON");
    *object.pointer_mut(&format!("/webhooks/1{pointer}")).expect("it is there") = value;
    configurations[0] = serde_json::from_value(object).expect("a configuration");
    snapshot
}

#[test]
fn what_the_chart_installs_is_as_it_should_be() {
    assert_eq!(bad(check(&sound::snapshot())), []);
}

#[rstest]
#[case::operation("/rules/0/operations", json!(["CREATE", "UPDATE"]), "only CREATE")]
#[case::resource("/rules/0/resources", json!(["pods/exec"]), "no rule is for CREATE of pods")]
#[case::scope("/rules/0/scope", json!("*"), "not Namespaced")]
#[case::selector("/namespaceSelector/matchLabels", json!({}), "does not ask for jobwarden.io/inject=enabled")]
#[case::service("/clientConfig/service/namespace", json!("other"), "does not call /mutate/pods")]
#[case::path("/clientConfig/service/path", json!("/mutate/jobs"), "does not call /mutate/pods")]
#[case::timeout("/timeoutSeconds", json!(30), "30 s")]
#[case::reinvocation("/reinvocationPolicy", json!("Never"), "reinvocationPolicy")]
#[case::side_effects("/sideEffects", json!("Some"), "sideEffects")]
#[case::conditions("/matchConditions", json!([]), "every pod")]
#[case::name("/name", json!("other.jobwarden.io"), "has no webhook pods.jobwarden.io")]
fn what_is_registered_otherwise_is_named(#[case] pointer: &str, #[case] value: Value, #[case] named: &str) {
    let found = bad(check(&changed(pointer, value)));
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert_eq!(finding.status, Status::Failure);
    assert!(finding.what.contains(named), "{finding:?}");
}

#[test]
fn a_configuration_that_is_missing_is_named() {
    let mut snapshot = sound::snapshot();
    snapshot.configurations = Ok(Vec::new());
    let found = bad(check(&snapshot));
    assert!(found[0].what.contains("no MutatingWebhookConfiguration jobwarden"), "{found:?}");
}

#[rstest]
#[case::policy(|snapshot: &mut Snapshot| snapshot.policy = Ok(None), "there is no ValidatingAdmissionPolicy")]
#[case::binding(|snapshot: &mut Snapshot| snapshot.binding = Ok(None), "there is no ValidatingAdmissionPolicyBinding")]
#[case::audit(
    |snapshot: &mut Snapshot| {
        let binding = snapshot.binding.as_mut().expect("seen").as_mut().expect("there");
        binding.spec.as_mut().expect("a spec").validation_actions = Some(vec!["Audit".to_owned()]);
    },
    "does not deny"
)]
fn a_backstop_that_is_missing_is_named(#[case] take: fn(&mut Snapshot), #[case] named: &str) {
    let mut snapshot = sound::snapshot();
    take(&mut snapshot);
    let finding = policy(&snapshot);
    assert!(finding.status == Status::Failure && finding.what.contains(named), "{finding:?}");
}

#[test]
fn a_file_that_is_not_understood_is_told_with_the_mistake() {
    let mut snapshot = sound::snapshot();
    let map = snapshot.config.as_mut().expect("seen").as_mut().expect("there");
    map.data = Some([(FILE.to_owned(), "identity: {preset: airflow}".to_owned())].into());
    let finding = file(&snapshot);
    assert!(finding.status == Status::Failure && finding.what.contains("airflow"), "{finding:?}");
    assert!(finding.hint.is_some_and(|hint| hint.contains("edit configmap jobwarden-webhook")));
}

#[test]
fn the_webhooks_own_flags_are_understood() {
    let mut snapshot = sound::snapshot();
    sound::replace_argument(&mut snapshot.webhook, "--sidecar-memory=", "48Mi");
    let settings = settings(&snapshot).expect("they are those of this program");
    assert_eq!(settings.sidecar.memory.as_str(), "48Mi");
}

#[test]
fn others_that_are_called_for_pods_are_suspects() {
    let mut snapshot = sound::snapshot();
    let webhook = |name: &str, resource: &str| {
        serde_json::from_value(json!({"metadata": {"name": name}, "webhooks": [{
            "name": "a.b.c", "clientConfig": {}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "rules": [{"resources": [resource]}],
        }]}))
        .expect("a configuration")
    };
    snapshot.configurations.as_mut().expect("seen").extend([webhook("mesh", "pods"), webhook("quota", "services")]);
    assert_eq!(others_for_pods(&snapshot), ["mesh"]);
}
