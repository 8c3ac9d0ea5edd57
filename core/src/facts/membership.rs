//! Which pods a Job has, by the Job controller's own rule (`getPodsForJob` in `pkg/controller/job`, Kubernetes 1.35): namespace,
//! controller reference and selector agree. The reference alone proves nothing: the creator of a pod writes it.

use std::collections::BTreeMap;

use jobwarden_common::names::label;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::label_selector::{self, selects};

/// How many labels of a pod are kept for the selector of a Job that is not known yet.
const MAX_LABELS: usize = 64;

/// What a pod has to show besides its controller reference, to be one of the Job that it names.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Members {
    /// The Job's UID as its controller-uid label. The API server writes that label into the template and the selector of every Job
    /// without a selector of its own, and rejects other values (`validateGeneratedSelector`).
    #[default]
    ByControllerUid,
    /// Labels that the Job's own selector matches (`spec.manualSelector`). Boxed: few Jobs have one.
    BySelector(Box<LabelSelector>),
    /// A bare pod is its own Job, and has no other pod.
    Itself,
}

/// What a pod that names a Job as its controller shows for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    namespace: Box<str>,
    /// `None` if its controller-uid label is the UID of the Job that it names: that is enough for every Job with such a selector, and no
    /// other has a use for more. Else its labels, for the selector of a Job that has its own.
    labels: Option<BTreeMap<String, String>>,
}

/// Why a pod is not one of the Job that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It stands in another namespace.
    #[error("its owner reference names a Job of another namespace")]
    Namespace,
    /// It lacks the controller-uid label of the Job, or the labels that the Job selects by.
    #[error("its labels are not those by which the Job selects its pods")]
    Labels,
    /// What it names is a bare pod.
    #[error("its owner reference names a pod")]
    NotAJob,
}

impl Mismatch {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Namespace, Self::Labels, Self::NotAJob];

    /// The word on metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Labels => "labels",
            Self::NotAJob => "not_a_job",
        }
    }
}

impl Claim {
    /// The namespace of the pod.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The claim of a pod in `namespace` with these labels that names the Job `uid`.
    pub fn new(namespace: &str, uid: &str, labels: Option<&BTreeMap<String, String>>) -> Self {
        let is = |key: &str| labels.and_then(|labels| labels.get(key)).is_some_and(|value| value == uid);
        let labelled = is(label::CONTROLLER_UID) || is(label::LEGACY_CONTROLLER_UID);
        let kept = || {
            let labels = labels.into_iter().flatten().take(MAX_LABELS);
            labels.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        Self { namespace: namespace.into(), labels: (!labelled).then(kept) }
    }
}

impl Members {
    /// Whether a pod with this claim is one of the Job in `namespace`.
    pub fn admit(&self, namespace: &str, claim: &Claim) -> Result<(), Mismatch> {
        if *claim.namespace != *namespace {
            return Err(Mismatch::Namespace);
        }
        let agrees = match (self, &claim.labels) {
            (Self::Itself, _) => return Err(Mismatch::NotAJob),
            // The labels of a pod with the controller-uid label are not kept. A selector of the Job's own that asks for more is its
            // controller's concern: the pod is of this namespace and carries this Job's UID twice.
            (Self::ByControllerUid | Self::BySelector(_), None) => true,
            (Self::ByControllerUid, Some(_)) => false,
            // The API server accepts no empty selector in a Job.
            (Self::BySelector(selector), Some(labels)) => {
                !label_selector::is_empty(selector) && selects(selector, |key| labels.get(key).map(String::as_str))
            }
        };
        if agrees { Ok(()) } else { Err(Mismatch::Labels) }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "reads well with json!")]
    fn claim(namespace: &str, labels: Value) -> Claim {
        let labels: BTreeMap<_, _> = serde_json::from_value(labels).expect("labels");
        Claim::new(namespace, "job", Some(&labels))
    }

    #[rstest]
    #[case::its_own("victim", json!({"batch.kubernetes.io/controller-uid": "job"}), Ok(()))]
    #[case::of_an_old_cluster("victim", json!({"controller-uid": "job"}), Ok(()))]
    #[case::forged_in_another_namespace("attacker", json!({"batch.kubernetes.io/controller-uid": "job"}), Err(Mismatch::Namespace))]
    #[case::forged_without_a_label("attacker", json!({}), Err(Mismatch::Namespace))]
    #[case::without_a_label("victim", json!({"app": "x"}), Err(Mismatch::Labels))]
    #[case::of_another_job("victim", json!({"batch.kubernetes.io/controller-uid": "other"}), Err(Mismatch::Labels))]
    fn a_pod_is_of_a_job_whose_namespace_and_uid_it_carries(
        #[case] namespace: &str,
        #[case] labels: Value,
        #[case] expected: Result<(), Mismatch>,
    ) {
        assert_eq!(Members::ByControllerUid.admit("victim", &claim(namespace, labels)), expected);
    }

    #[rstest]
    #[case::by_labels(json!({"matchLabels": {"app": "x"}}), json!({"app": "x", "b": "c"}), true)]
    #[case::other_labels(json!({"matchLabels": {"app": "x"}}), json!({"app": "y"}), false)]
    #[case::in_a_list(json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "y"]}]}), json!({"app": "y"}), true)]
    #[case::not_in_a_list(json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["x"]}]}), json!({}), true)]
    #[case::in_the_wrong_list(json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["x"]}]}), json!({"app": "x"}), false)]
    #[case::present(json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}), json!({"app": ""}), true)]
    #[case::absent(json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}), json!({"app": ""}), false)]
    #[case::both(json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}), json!({"a": "1"}), false)]
    #[case::nothing(json!({}), json!({"app": "x"}), false)]
    fn a_job_with_a_selector_of_its_own_has_the_pods_that_it_selects(
        #[case] selector: Value,
        #[case] labels: Value,
        #[case] expected: bool,
    ) {
        let members = Members::BySelector(Box::new(serde_json::from_value(selector).expect("a selector")));
        let answer = members.admit("ns", &claim("ns", labels.clone()));
        assert_eq!(answer, if expected { Ok(()) } else { Err(Mismatch::Labels) });
        assert_eq!(members.admit("other", &claim("ns", labels)), Err(Mismatch::Namespace));
    }

    #[test]
    fn a_bare_pod_has_no_other_pod() {
        let labels = json!({"batch.kubernetes.io/controller-uid": "job"});
        assert_eq!(Members::Itself.admit("ns", &claim("ns", labels)), Err(Mismatch::NotAJob));
    }

    #[test]
    fn a_labelled_pod_keeps_no_labels_and_any_other_a_bounded_number() {
        assert_eq!(claim("ns", json!({"controller-uid": "job", "app": "x"})).labels, None);
        let many: BTreeMap<_, _> = (0..1000).map(|i| (i.to_string(), String::new())).collect();
        assert_eq!(Claim::new("ns", "job", Some(&many)).labels.map(|labels| labels.len()), Some(MAX_LABELS));
    }
}
