//! What admission does to a pod that is created as a dry run.

use std::collections::BTreeMap;

use jobwarden_common::names::{SIDECAR_CONTAINER, label, label_value};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::{
    dry_run::{DryRun, Response},
    enrolment,
    finding::{Finding, Section, Status, some_of},
    other_webhooks::{called_for_pods, fix_removal},
    snapshot::Snapshot,
};

/// The name of the webhook for pods in the chart, as it appears in errors of the API server.
const OURS: &str = "webhook \"pods.jobwarden.io\"";

/// In the messages of webhook and policy about a sidecar whose restart policy is gone.
const STRIPPED: &str = "restartPolicy from";

const SECTION: Section = Section::Admission;

/// The conclusion from a dry run; equal ones of several namespaces become one finding.
type Verdict = (Status, String, Option<String>);

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let mut verdicts = BTreeMap::<String, (Verdict, Vec<&str>)>::new();
    let others = called_for_pods(snapshot);
    let mut findings = Vec::new();
    for DryRun { namespace, response } in &snapshot.dry_runs {
        match response {
            Err(error) => findings.push(SECTION.unavailable(&format!("a dry run in {namespace}"), error)),
            Ok(response) => {
                let verdict = judge(response, &others);
                verdicts.entry(verdict.1.clone()).or_insert((verdict, Vec::new())).1.push(namespace);
            }
        }
    }
    findings.extend(verdicts.into_values().map(|((status, message, hint), namespaces)| {
        let message = format!("a pod created as a dry run in {} {message}", some_of(&namespaces));
        Finding { section: SECTION, status, message, hint }
    }));
    let enrolled = snapshot.enrolled.as_ref().map(|all| enrolment::effective(snapshot, all).count());
    if enrolled == Ok(0) && snapshot.only.is_none() {
        let hint = "enrol the namespaces whose Jobs should be watched: kubectl label namespace NAMESPACE jobwarden.io/inject=enabled";
        findings.push(SECTION.warning("no namespace is enrolled, so admission was not tried", hint));
    }
    findings
}

fn judge(response: &Response, others: &[String]) -> Verdict {
    match response {
        Response::Rejected(text) => rejected(text, others),
        Response::Admitted { pod, warnings } => admitted(pod, warnings, others),
    }
}

fn failure(message: impl Into<String>, hint: impl Into<String>) -> Verdict {
    (Status::Failure, message.into(), Some(hint.into()))
}

fn rejected(text: &str, others: &[String]) -> Verdict {
    if text.contains(STRIPPED) {
        return failure("is rejected: another webhook removes restartPolicy from the sidecar", fix_removal(others));
    }
    if text.contains(OURS) && text.contains("failed calling") {
        let hint = if text.contains("x509") || text.contains("tls:") {
            "the API server does not trust its certificate; see the section certificates above"
        } else {
            "worker pods are not created until it can; see the webhook's replicas and Service above, and its NetworkPolicies"
        };
        return failure(format!("is rejected, because the API server cannot call jobwarden's webhook: {text}"), hint);
    }
    if text.contains(OURS) {
        return failure(format!("is rejected by jobwarden: {text}"), "follow the advice in the message");
    }
    if text.contains("does not support dry run") {
        let hint = "its sideEffects are neither None nor NoneOnDryRun; check whether Jobs there get their pods: kubectl describe job";
        let message = format!("is inconclusive, because another webhook does not support dry runs: {text}");
        return (Status::Warning, message, Some(hint.to_owned()));
    }
    let hint = "this may not affect worker pods, which differ from it; check whether Jobs there get their pods: kubectl describe job";
    (Status::Warning, format!("is rejected, but not by jobwarden: {text}"), Some(hint.to_owned()))
}

fn admitted(pod: &Pod, warnings: &[String], others: &[String]) -> Verdict {
    let containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten()).enumerate();
    let sidecars: Vec<_> = containers.filter(|(_, container)| container.name == SIDECAR_CONTAINER).collect();
    let [(index, sidecar)] = sidecars[..] else {
        return match sidecars.len() {
            0 => {
                let hint = "see the webhook's registration and replicas above; with the failure policy Ignore the API server creates \
                            pods without calling the webhook while it is down";
                failure("is admitted without the sidecar", hint)
            }
            several => {
                let message = format!("gets the sidecar {several} times");
                failure(message, format!("another webhook duplicates containers; called for pods: {}", some_of(others)))
            }
        };
    };
    if sidecar.restart_policy.as_deref() != Some("Always") {
        return failure(
            "gets a sidecar without restartPolicy, which would block the pod for ever",
            fix_removal(others),
        );
    }
    if pod.labels().get(label::ENROLLED).is_none_or(|value| value != label_value::TRUE) {
        let hint = format!("another webhook removes labels; called for pods: {}", some_of(others));
        return failure(format!("does not get the label {}, so the reaper does not watch it", label::ENROLLED), hint);
    }
    if warnings.iter().any(|warning| warning.contains(STRIPPED)) {
        let message =
            "gets the sidecar, but another webhook removes its restartPolicy, and jobwarden restores it".to_owned();
        return (Status::Warning, message, Some(fix_removal(others)));
    }
    if index != 0 {
        let message =
            format!("gets the sidecar after {index} other init containers, during which there is no heartbeat");
        let hint = format!("another webhook puts its containers first; called for pods: {}", some_of(others));
        return (Status::Warning, message, Some(hint));
    }
    (Status::Ok, "gets the sidecar, once and first".to_owned(), None)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::check::{dry_run::pod, healthy};

    fn others() -> Vec<String> {
        vec!["mesh".to_owned()]
    }

    fn containers(list: Value) -> Response {
        let mut pod = pod("image", false);
        pod.labels_mut().insert(label::ENROLLED.to_owned(), label_value::TRUE.to_owned());
        let mut json = serde_json::to_value(pod).expect("JSON");
        json["spec"]["initContainers"] = list;
        Response::Admitted { pod: serde_json::from_value(json).expect("a pod"), warnings: Vec::new() }
    }

    fn sidecar() -> Value {
        json!({"name": SIDECAR_CONTAINER, "restartPolicy": "Always"})
    }

    #[rstest]
    #[case::once_and_first(json!([sidecar(), {"name": "init"}]), Status::Ok, "once and first")]
    #[case::missing(json!([]), Status::Failure, "without the sidecar")]
    #[case::twice(json!([sidecar(), sidecar()]), Status::Failure, "2 times")]
    #[case::stripped(json!([{"name": SIDECAR_CONTAINER}]), Status::Failure, "without restartPolicy")]
    #[case::not_first(json!([{"name": "init"}, sidecar()]), Status::Warning, "after 1 other")]
    fn the_sidecar_of_the_returned_pod_is_checked(#[case] list: Value, #[case] status: Status, #[case] part: &str) {
        let verdict = judge(&containers(list), &others());
        assert!(verdict.0 == status && verdict.1.contains(part), "{verdict:?}");
    }

    #[test]
    fn a_repaired_sidecar_is_a_warning_with_the_suspects() {
        let mut response = containers(json!([sidecar()]));
        if let Response::Admitted { warnings, .. } = &mut response {
            warnings.push("another admission webhook took restartPolicy from the init container".to_owned());
        }
        let (status, _, hint) = judge(&response, &others());
        assert_eq!(status, Status::Warning);
        assert!(hint.is_some_and(|hint| hint.contains("mesh")));
    }

    #[rstest]
    #[case::down(
        "Internal error occurred: failed calling webhook \"pods.jobwarden.io\": no endpoints available for service",
        Status::Failure,
        "see the webhook's replicas"
    )]
    #[case::distrusted(
        "failed calling webhook \"pods.jobwarden.io\": tls: failed to verify certificate: x509: signed by unknown authority",
        Status::Failure,
        "certificates above"
    )]
    #[case::stripped(
        "ValidatingAdmissionPolicy 'jobwarden-sidecar' denied request: another admission webhook took restartPolicy from it",
        Status::Failure,
        "mesh"
    )]
    #[case::too_small(
        "admission webhook \"pods.jobwarden.io\" denied the request: the LimitRange",
        Status::Failure,
        "follow the advice"
    )]
    #[case::no_dry_run("admission webhook \"mesh\" does not support dry run", Status::Warning, "sideEffects")]
    #[case::others("exceeded quota: pods", Status::Warning, "may not affect")]
    fn a_rejection_is_attributed_to_its_cause(#[case] text: &str, #[case] expected: Status, #[case] part: &str) {
        let (status, message, hint) = judge(&Response::Rejected(text.to_owned()), &others());
        assert_eq!(status, expected, "{message}");
        assert!(hint.as_ref().is_some_and(|hint| hint.contains(part)), "{hint:?}");
    }

    #[test]
    fn equal_results_are_one_finding() {
        let mut snapshot = healthy::snapshot();
        let response = || Ok(Response::Rejected("no".to_owned()));
        snapshot.dry_runs = ["a", "b"].map(|it| DryRun { namespace: it.to_owned(), response: response() }).into();
        let findings = check(&snapshot);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.starts_with("a pod created as a dry run in a, b is rejected"), "{findings:?}");
    }

    #[test]
    fn a_cluster_without_enrolled_namespaces_is_a_warning() {
        let mut snapshot = healthy::snapshot();
        (snapshot.dry_runs, snapshot.enrolled) = (Vec::new(), Ok(Vec::new()));
        assert_eq!(check(&snapshot)[0].status, Status::Warning);
    }
}
