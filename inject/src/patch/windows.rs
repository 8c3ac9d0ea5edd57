//! Whether a pod is for Windows, where the sidecar cannot run.
//!
//! A `RuntimeClass` shows in a pod, not in a template: its admission plugin merges the class's `scheduling.nodeSelector` into the
//! pod's before webhooks are called (`AllOrderedPlugins` of kube-apiserver), so no look-up of the class is needed.

use crate::view::{Entries, Lazy, NodeRequirement, NodeSelectorTerm, PodSpec, SecurityContext, Text, WindowsOptions};

/// Labels of nodes with the operating system, the old one included (`kubernetes.io/os` of k8s.io/api/core/v1).
const OS_LABELS: [&str; 2] = ["kubernetes.io/os", "beta.kubernetes.io/os"];

/// The label that only Windows nodes have (`corev1.LabelWindowsBuild`).
const BUILD_LABEL: &str = "node.kubernetes.io/windows-build";

const WINDOWS: &str = "windows";

/// Whether the pod can only be meant for Windows. What names the operating system outweighs options that other systems ignore.
pub(super) fn is_windows(spec: &PodSpec<'_>) -> bool {
    if let Some(os) = &spec.os {
        return os.name == *WINDOWS;
    }
    let selected = spec.node_selector.as_ref().and_then(by_node_selector);
    selected.or_else(|| by_affinity(spec)).unwrap_or_else(|| has_options(spec))
}

/// Whether the selector admits Windows nodes only; `None` if it does not say.
fn by_node_selector(selector: &Entries<'_>) -> Option<bool> {
    let os = OS_LABELS.iter().find_map(|label| selector.get(label)).map(|os| os == WINDOWS);
    os.or_else(|| selector.get(BUILD_LABEL).map(|_| true))
}

/// Whether the required node affinity admits Windows nodes only; `None` if it does not say. Its terms are alternatives.
fn by_affinity(spec: &PodSpec<'_>) -> Option<bool> {
    let affinity = spec.affinity.as_ref().filter(|it| it.mentions("kubernetes.io/")).and_then(Lazy::parse)?;
    let terms = affinity.node_affinity?.required?.node_selector_terms.unwrap_or_default();
    let of_terms: Vec<Option<bool>> = terms.iter().map(by_term).collect();
    if of_terms.contains(&Some(false)) {
        return Some(false);
    }
    (!of_terms.is_empty() && of_terms.iter().all(Option::is_some)).then_some(true)
}

fn by_term(term: &NodeSelectorTerm<'_>) -> Option<bool> {
    term.match_expressions.iter().flatten().find_map(|NodeRequirement { key, operator, values }| {
        let values: &[Text<'_>] = values.as_deref().unwrap_or_default();
        let only = |os: &str| !values.is_empty() && values.iter().all(|value| value == os);
        match &**operator {
            "In" if OS_LABELS.contains(&&**key) => {
                if only(WINDOWS) {
                    Some(true)
                } else {
                    (!values.iter().any(|value| value == WINDOWS)).then_some(false)
                }
            }
            "NotIn" if OS_LABELS.contains(&&**key) && values.iter().any(|value| value == WINDOWS) => Some(false),
            "NotIn" if OS_LABELS.contains(&&**key) && only("linux") => Some(true),
            "In" | "Exists" if key == BUILD_LABEL => Some(true),
            _ => None,
        }
    })
}

/// Whether the pod or a container has options that have an effect on Windows only.
fn has_options(spec: &PodSpec<'_>) -> bool {
    let containers = [&spec.containers, &spec.init_containers].into_iter().flatten().flatten();
    let contexts = containers.map(|container| &container.security_context).chain([&spec.security_context]);
    contexts.flatten().filter(|context| context.mentions("windowsOptions")).filter_map(Lazy::parse).any(
        |SecurityContext { windows_options, .. }| {
            windows_options.is_some_and(|options| {
                let WindowsOptions { run_as_user_name, gmsa_credential_spec_name, gmsa_credential_spec, host_process } =
                    options;
                run_as_user_name.is_some()
                    || gmsa_credential_spec_name.is_some()
                    || gmsa_credential_spec.is_some()
                    || host_process == Some(true)
            })
        },
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "callers write literals")]
    fn required(terms: Value) -> Value {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
    }

    fn os(operator: &str, values: &[&str]) -> Value {
        json!({"matchExpressions": [{"key": "zone", "operator": "Exists"}, {"key": "kubernetes.io/os", "operator": operator, "values": values}]})
    }

    #[rstest]
    #[case::nothing(json!({}), false)]
    #[case::os(json!({"os": {"name": "windows"}}), true)]
    #[case::another_os(json!({"os": {"name": "linux"}}), false)]
    #[case::selector(json!({"nodeSelector": {"kubernetes.io/os": "windows"}}), true)]
    #[case::old_selector(json!({"nodeSelector": {"beta.kubernetes.io/os": "windows"}}), true)]
    #[case::build(json!({"nodeSelector": {"node.kubernetes.io/windows-build": "10.0.20348"}}), true)]
    #[case::selector_of_linux(json!({"nodeSelector": {"kubernetes.io/os": "linux"}}), false)]
    #[case::another_selector(json!({"nodeSelector": {"pool": "windows"}}), false)]
    #[case::affinity(required(json!([os("In", &["windows"])])), true)]
    #[case::every_alternative(required(json!([os("In", &["windows"]), os("NotIn", &["linux"])])), true)]
    #[case::one_alternative(required(json!([os("In", &["windows"]), os("In", &["linux"])])), false)]
    #[case::an_alternative_without_os(required(json!([os("In", &["windows"]), {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}])), false)]
    #[case::both_systems(required(json!([os("In", &["windows", "linux"])])), false)]
    #[case::not_windows(required(json!([os("NotIn", &["windows"])])), false)]
    #[case::no_terms(required(json!([])), false)]
    #[case::preferred(
        json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": os("In", &["windows"])}]}}}),
        false
    )]
    #[case::user_of_the_pod(json!({"securityContext": {"windowsOptions": {"runAsUserName": "ContainerUser"}}}), true)]
    #[case::user_of_a_container(json!({"containers": [{"name": "a", "securityContext": {"windowsOptions": {"runAsUserName": "x"}}}]}), true)]
    #[case::service_account(json!({"initContainers": [{"name": "a", "securityContext": {"windowsOptions": {"gmsaCredentialSpecName": "x"}}}]}), true)]
    #[case::host_process(json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}), true)]
    #[case::no_host_process(json!({"securityContext": {"windowsOptions": {"hostProcess": false}}}), false)]
    #[case::empty_options(json!({"securityContext": {"windowsOptions": {}}}), false)]
    #[case::options_on_linux(
        json!({"nodeSelector": {"kubernetes.io/os": "linux"}, "securityContext": {"windowsOptions": {"runAsUserName": "x"}}}),
        false
    )]
    fn windows_is_recognised_by_any_sign(#[case] spec: Value, #[case] expected: bool) {
        let text = spec.to_string();
        assert_eq!(is_windows(&serde_json::from_str(&text).expect("a spec")), expected);
    }
}
