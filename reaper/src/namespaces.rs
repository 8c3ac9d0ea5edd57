//! Which namespaces are enrolled: the label says so, which is the administrator's word, and jobwarden's own never are.

use std::collections::BTreeSet;

use jobwarden_common::names::{label, label_value};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Namespaces that the webhook ignores even if they are labelled, besides jobwarden's own. The same as in the chart's webhook
/// configuration.
const EXCLUDED: [&str; 1] = ["kube-system"];

/// Jobwarden's own namespaces, which cannot be enrolled.
#[derive(Clone, Debug, Default)]
pub struct OwnNamespaces(BTreeSet<String>);

impl OwnNamespaces {
    /// These.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Whether it is one of them, or one of Kubernetes itself: nothing in it is ever followed.
    pub(crate) fn excludes(&self, name: &str) -> bool {
        self.0.contains(name) || EXCLUDED.contains(&name)
    }

    /// Whether a namespace with this metadata is enrolled.
    pub(crate) fn enrols(&self, metadata: &ObjectMeta) -> bool {
        let name = metadata.name.as_deref().unwrap_or_default();
        let label = metadata.labels.as_ref().and_then(|labels| labels.get(label::INJECT));
        label.is_some_and(|value| value == label_value::ENABLED) && !self.excludes(name)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::labelled("work", Some("enabled"), true)]
    #[case::otherwise_labelled("work", Some("true"), false)]
    #[case::not_labelled("work", None, false)]
    #[case::our_own("jobwarden", Some("enabled"), false)]
    #[case::of_kubernetes("kube-system", Some("enabled"), false)]
    fn a_namespace_is_enrolled_by_its_label(#[case] name: &str, #[case] value: Option<&str>, #[case] expected: bool) {
        let labels = value.map(|value| [(label::INJECT.to_owned(), value.to_owned())].into());
        let metadata = ObjectMeta { name: Some(name.to_owned()), labels, ..ObjectMeta::default() };
        assert_eq!(OwnNamespaces::new(["jobwarden".to_owned()]).enrols(&metadata), expected);
    }
}
