//! Jobs that are followed by their labels, in namespaces that the administrator names: without the label of the namespace, and without the
//! webhook.

use std::collections::BTreeSet;

use k8s_openapi::{
    api::batch::v1::Job,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};

use crate::{
    label_selector::{is_empty, selects},
    policy::Labels,
};

/// The Jobs that are followed by their labels. By default none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    namespaces: BTreeSet<String>,
    selector: LabelSelector,
}

impl Selection {
    /// The Jobs of these namespaces that `selector` selects. An empty selector selects none: to follow all Jobs of a namespace, enrol it.
    pub fn new(namespaces: impl IntoIterator<Item = String>, selector: LabelSelector) -> Self {
        Self { namespaces: namespaces.into_iter().collect(), selector }
    }

    /// The namespaces.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.iter().map(String::as_str)
    }

    /// Whether Jobs of this namespace may be selected.
    pub fn covers(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace) && !is_empty(&self.selector)
    }

    /// Whether something with these labels is selected.
    pub fn selects(&self, namespace: &str, labels: &Labels) -> bool {
        self.covers(namespace) && selects(&self.selector, |key| labels.get(key))
    }

    /// Whether the object with this metadata is selected.
    pub fn selects_object(&self, metadata: &ObjectMeta) -> bool {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        self.covers(namespace) && self.selects(namespace, &Labels::keep(metadata.labels.iter().flatten()))
    }

    /// Whether a Job is selected. Its pod template has to be selected as well: pods have the labels of the template, and a Job without
    /// its pods would seem not to start.
    pub fn selects_job(&self, job: &Job) -> bool {
        let template = job.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
        let labels = Labels::keep(template.and_then(|metadata| metadata.labels.as_ref()).into_iter().flatten());
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        self.selects_object(&job.metadata) && self.selects(namespace, &labels)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::label_selector::parse;

    fn selection(selector: &str) -> Selection {
        Selection::new(["ort".to_owned()], parse(selector).expect("a selector"))
    }

    #[allow(clippy::needless_pass_by_value, reason = "reads well with json!")]
    fn job(namespace: &str, own: Value, template: Value) -> Job {
        let job = json!({
            "metadata": { "namespace": namespace, "name": "j", "labels": own },
            "spec": { "template": { "metadata": { "labels": template }, "spec": { "containers": [] } } }
        });
        serde_json::from_value(job).expect("a Job")
    }

    #[rstest]
    #[case::by_label("ort", json!({"ort-worker": "scanner"}), json!({"ort-worker": "scanner"}), true)]
    #[case::elsewhere("other", json!({"ort-worker": "scanner"}), json!({"ort-worker": "scanner"}), false)]
    #[case::another_label("ort", json!({"app": "x"}), json!({"app": "x"}), false)]
    #[case::its_pods_lack_the_label("ort", json!({"ort-worker": "scanner"}), json!(null), false)]
    #[case::only_its_pods_have_the_label("ort", json!({}), json!({"ort-worker": "scanner"}), false)]
    fn a_job_is_selected_by_namespace_and_labels_of_itself_and_its_pods(
        #[case] namespace: &str,
        #[case] own: Value,
        #[case] template: Value,
        #[case] expected: bool,
    ) {
        assert_eq!(selection("ort-worker").selects_job(&job(namespace, own, template)), expected);
    }

    #[test]
    fn nothing_is_selected_without_a_selector_or_a_namespace() {
        let labelled = || json!({"ort-worker": "scanner"});
        let job = job("ort", labelled(), labelled());
        assert!(!Selection::default().selects_job(&job));
        assert!(!Selection::new(["ort".to_owned()], LabelSelector::default()).selects_job(&job));
        assert!(!Selection::new([], parse("ort-worker").expect("a selector")).selects_job(&job));
    }
}
