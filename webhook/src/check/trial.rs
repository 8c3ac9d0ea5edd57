//! A pod created for dry: only the whole chain of admission can show what other webhooks do to ours.

use std::collections::BTreeMap;

use jobwarden_common::names::{SIDECAR_CONTAINER, label, label_value};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::json;

use super::{
    finding::{Finding, Section, Status, some_of},
    namespaces,
    registration::others_for_pods,
    snapshot::{Look, Snapshot},
};

/// What the chart calls the webhook for pods, as the API server's errors do.
const OURS: &str = "webhook \"pods.jobwarden.io\"";

/// In what the webhook and the policy say of a sidecar whose restart policy is gone.
const STRIPPED: &str = "restartPolicy from";

const SECTION: Section = Section::Admission;

/// What came of a pod in one namespace.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) namespace: String,
    pub(super) said: Look<Said>,
}

/// What the API server says.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// It would create this.
    Admitted {
        pod: Box<Pod>,
        /// As `kubectl` would show them.
        warnings: Vec<String>,
    },
    /// It would not, and why.
    Refused(String),
}

/// A pod that opts in, passes Pod Security `restricted`, and would run `image`. With or without requests and limits: some
/// namespaces demand them, others bound them.
pub(super) fn pod(image: &str, sized: bool) -> Pod {
    let size = json!({"cpu": "100m", "memory": "64Mi"});
    let resources = if sized { json!({"requests": size, "limits": size}) } else { json!({}) };
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "jobwarden-check-", "labels": {label::INJECT: label_value::TRUE}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "check",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "resources": resources,
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    serde_json::from_value(pod).expect("the literal above has the shape of a pod")
}

/// What is said of a trial; those of several namespaces that say the same are one finding.
type Verdict = (Status, String, Option<String>);

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let mut verdicts = BTreeMap::<String, (Verdict, Vec<&str>)>::new();
    let others = others_for_pods(snapshot);
    let mut findings = Vec::new();
    for Trial { namespace, said } in &snapshot.trials {
        match said {
            Err(lack) => findings.push(SECTION.lacking(&format!("what becomes of a pod in {namespace}"), lack)),
            Ok(said) => {
                let verdict = judge(said, &others);
                verdicts.entry(verdict.1.clone()).or_insert((verdict, Vec::new())).1.push(namespace);
            }
        }
    }
    findings.extend(verdicts.into_values().map(|((status, what, hint), namespaces)| {
        let what = format!("a pod created for dry in {} {what}", some_of(&namespaces));
        Finding { section: SECTION, status, what, hint }
    }));
    let enrolled = snapshot.enrolled.as_ref().map(|all| namespaces::in_effect(snapshot, all).count());
    if enrolled == Ok(0) {
        let hint =
            "enrol those whose Jobs shall be guarded: kubectl label namespace NAMESPACE jobwarden.io/inject=enabled";
        findings.push(SECTION.warning("no namespace is enrolled, so admission was not tried", hint));
    }
    findings
}

fn judge(said: &Said, others: &[String]) -> Verdict {
    match said {
        Said::Refused(text) => refused(text, others),
        Said::Admitted { pod, warnings } => admitted(pod, warnings, others),
    }
}

fn failure(what: impl Into<String>, hint: impl Into<String>) -> Verdict {
    (Status::Failure, what.into(), Some(hint.into()))
}

fn refused(text: &str, others: &[String]) -> Verdict {
    if text.contains(STRIPPED) {
        return failure("is refused: another webhook takes restartPolicy from the sidecar", strippers(others));
    }
    if text.contains(OURS) && text.contains("failed calling") {
        let hint = if text.contains("x509") || text.contains("tls:") {
            "the API server does not trust it: see the certificates above"
        } else {
            "worker pods are delayed until it can; see the webhook's replicas, Service and NetworkPolicy above"
        };
        return failure(format!("is refused, for the API server cannot call jobwarden's webhook: {text}"), hint);
    }
    if text.contains(OURS) {
        return failure(format!("is refused by jobwarden: {text}"), "do as it says");
    }
    if text.contains("does not support dry run") {
        let hint =
            "its sideEffects are neither None nor NoneOnDryRun; see for yourself whether Jobs there get their pods";
        let what = format!("tells nothing, for another webhook takes no dry run: {text}");
        return (Status::Warning, what, Some(hint.to_owned()));
    }
    let hint = "this need not concern worker pods, which are others; see whether Jobs there get their pods: kubectl describe job";
    (Status::Warning, format!("is refused by others: {text}"), Some(hint.to_owned()))
}

fn admitted(pod: &Pod, warnings: &[String], others: &[String]) -> Verdict {
    let containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten()).enumerate();
    let sidecars: Vec<_> = containers.filter(|(_, container)| container.name == SIDECAR_CONTAINER).collect();
    let [(index, sidecar)] = sidecars[..] else {
        return match sidecars.len() {
            0 => {
                let hint = "see the webhook's registration and replicas above; with the failure policy Ignore the API server lets \
                            pods past while it cannot call the webhook";
                failure("is let past without a sidecar", hint)
            }
            several => {
                let what = format!("gets {several} sidecars");
                failure(what, format!("some webhook copies containers; suspects: {}", some_of(others)))
            }
        };
    };
    if sidecar.restart_policy.as_deref() != Some("Always") {
        return failure("gets a sidecar without restartPolicy, which would hang it for ever", strippers(others));
    }
    if pod.labels().get(label::ENROLLED).is_none_or(|value| value != label_value::TRUE) {
        let hint = format!("another webhook takes labels away; suspects: {}", some_of(others));
        return failure(format!("lacks the label {}, so the reaper does not see it", label::ENROLLED), hint);
    }
    if warnings.iter().any(|warning| warning.contains(STRIPPED)) {
        let what =
            "gets its sidecar, but another webhook took restartPolicy from it, which had to be put back".to_owned();
        return (Status::Warning, what, Some(strippers(others)));
    }
    if index != 0 {
        let what =
            format!("gets its sidecar behind {index} other init containers, during which nobody beats").to_owned();
        let hint = format!("another webhook puts its containers first; suspects: {}", some_of(others));
        return (Status::Warning, what, Some(hint));
    }
    (Status::Ok, "gets the sidecar, once and first".to_owned(), None)
}

/// What to do about a webhook that takes the restart policy.
pub(super) fn strippers(others: &[String]) -> String {
    let suspects = if others.is_empty() { "none that this check can see".to_owned() } else { some_of(others) };
    format!(
        "it reads containers into a type that does not know the field: update it, or have it leave the namespace out.\n\
         Suspects, for they are called for pods: {suspects}\n\
         kubectl get mutatingwebhookconfigurations"
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::Value;

    use super::*;
    use crate::check::sound;

    fn others() -> Vec<String> {
        vec!["mesh".to_owned()]
    }

    fn containers(list: Value) -> Said {
        let mut pod = pod("image", false);
        pod.labels_mut().insert(label::ENROLLED.to_owned(), label_value::TRUE.to_owned());
        let mut json = serde_json::to_value(pod).expect("JSON");
        json["spec"]["initContainers"] = list;
        Said::Admitted { pod: serde_json::from_value(json).expect("a pod"), warnings: Vec::new() }
    }

    fn sidecar() -> Value {
        json!({"name": SIDECAR_CONTAINER, "restartPolicy": "Always"})
    }

    #[rstest]
    #[case::as_it_should_be(json!([sidecar(), {"name": "init"}]), Status::Ok, "once and first")]
    #[case::let_past(json!([]), Status::Failure, "without a sidecar")]
    #[case::twice(json!([sidecar(), sidecar()]), Status::Failure, "2 sidecars")]
    #[case::stripped(json!([{"name": SIDECAR_CONTAINER}]), Status::Failure, "without restartPolicy")]
    #[case::behind(json!([{"name": "init"}, sidecar()]), Status::Warning, "behind 1 other")]
    fn a_pod_that_comes_back_is_looked_at(#[case] list: Value, #[case] status: Status, #[case] told: &str) {
        let verdict = judge(&containers(list), &others());
        assert!(verdict.0 == status && verdict.1.contains(told), "{verdict:?}");
    }

    #[test]
    fn a_sidecar_that_was_mended_is_told_with_the_suspects() {
        let mut said = containers(json!([sidecar()]));
        if let Said::Admitted { warnings, .. } = &mut said {
            warnings.push("another admission webhook took restartPolicy from the init container".to_owned());
        }
        let (status, _, hint) = judge(&said, &others());
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
        "see the certificates"
    )]
    #[case::stripped(
        "ValidatingAdmissionPolicy 'jobwarden-sidecar' denied request: another admission webhook took restartPolicy from it",
        Status::Failure,
        "mesh"
    )]
    #[case::too_small(
        "admission webhook \"pods.jobwarden.io\" denied the request: the LimitRange",
        Status::Failure,
        "do as it says"
    )]
    #[case::no_dry_run("admission webhook \"mesh\" does not support dry run", Status::Warning, "sideEffects")]
    #[case::others("exceeded quota: pods", Status::Warning, "need not concern")]
    fn a_refusal_is_laid_at_the_right_door(#[case] text: &str, #[case] expected: Status, #[case] told: &str) {
        let (status, what, hint) = judge(&Said::Refused(text.to_owned()), &others());
        assert_eq!(status, expected, "{what}");
        assert!(hint.as_ref().is_some_and(|hint| hint.contains(told)), "{hint:?}");
    }

    #[test]
    fn namespaces_that_say_the_same_are_one_finding() {
        let mut snapshot = sound::snapshot();
        let said = || Ok(Said::Refused("no".to_owned()));
        snapshot.trials = ["a", "b"].map(|it| Trial { namespace: it.to_owned(), said: said() }).into();
        let findings = check(&snapshot);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].what.starts_with("a pod created for dry in a, b is refused"), "{findings:?}");
    }

    #[test]
    fn that_nothing_is_enrolled_is_told() {
        let mut snapshot = sound::snapshot();
        (snapshot.trials, snapshot.enrolled) = (Vec::new(), Ok(Vec::new()));
        assert_eq!(check(&snapshot)[0].status, Status::Warning);
    }
}
