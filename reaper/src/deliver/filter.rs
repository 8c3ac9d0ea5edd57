//! Which outcomes a sink receives.

use std::collections::BTreeSet;

use jobwarden_common::notification::{OutcomeData, OutcomeKind};
use jobwarden_core::{
    label_selector::{self, selects},
    policy::Labels,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;

/// The outcomes that a sink receives: those for which every field holds. A field that is not set holds for every outcome.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Filter {
    /// The kinds of outcomes.
    #[serde(default)]
    pub kinds: Option<BTreeSet<OutcomeKind>>,
    /// The reasons, such as `NodeUnreachable`.
    #[serde(default)]
    pub reasons: Option<BTreeSet<String>>,
    /// The namespaces of the Jobs.
    #[serde(default)]
    pub namespaces: Option<BTreeSet<String>>,
    /// A selector of the labels of the Job and its pod template. A coalesced outcome is about several Jobs and has no labels.
    #[serde(default)]
    pub selector: LabelSelector,
}

impl Filter {
    /// Whether the sink receives the outcome `data` of a Job with these labels.
    pub fn matches(&self, data: &OutcomeData, labels: &Labels) -> bool {
        let Self { kinds, reasons, namespaces, selector } = self;
        kinds.as_ref().is_none_or(|kinds| kinds.contains(&data.kind))
            && reasons.as_ref().is_none_or(|reasons| reasons.contains(&data.reason))
            && namespaces.as_ref().is_none_or(|namespaces| namespaces.contains(&data.namespace))
            && selects(selector, |key| labels.get(key))
    }

    /// What is wrong with the filter; `None` if it is valid.
    pub fn problem(&self) -> Option<String> {
        let Self { kinds, reasons, namespaces, selector } = self;
        let empty = [
            ("kinds", kinds.as_ref().is_some_and(BTreeSet::is_empty)),
            ("reasons", reasons.as_ref().is_some_and(BTreeSet::is_empty)),
            ("namespaces", namespaces.as_ref().is_some_and(BTreeSet::is_empty)),
        ];
        let empty = empty.into_iter().find(|(_, is_empty)| *is_empty);
        empty
            .map(|(field, _)| format!("{field} is empty, so nothing would be sent"))
            .or_else(|| label_selector::problem(selector))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::outbox::object::tests::mk_data;

    #[rstest]
    #[case::everything(json!({}), true)]
    #[case::its_kind(json!({"kinds": ["failed", "lost"]}), true)]
    #[case::other_kinds(json!({"kinds": ["succeeded"]}), false)]
    #[case::its_reason(json!({"reasons": ["NodeUnreachable"]}), true)]
    #[case::another_reason(json!({"reasons": ["OOMKilled"]}), false)]
    #[case::its_namespace(json!({"namespaces": ["ort"]}), true)]
    #[case::another_namespace(json!({"namespaces": ["other"]}), false)]
    #[case::its_labels(json!({"selector": {"matchLabels": {"ort-worker": "analyzer"}}}), true)]
    #[case::other_labels(json!({"selector": {"matchLabels": {"ort-worker": "scanner"}}}), false)]
    #[case::every_field_has_to_hold(json!({"kinds": ["lost"], "namespaces": ["other"]}), false)]
    fn a_sink_receives_what_its_filter_matches(#[case] filter: Value, #[case] expected: bool) {
        let filter: Filter = serde_json::from_value(filter).expect("a filter");
        let labels = BTreeMap::from([("ort-worker".to_owned(), "analyzer".to_owned())]);
        assert_eq!(filter.matches(&mk_data(), &Labels::keep(&labels)), expected);
    }

    #[rstest]
    #[case(json!({"kinds": []}))]
    #[case(json!({"namespaces": []}))]
    #[case(json!({"selector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}))]
    fn a_filter_that_can_only_be_a_mistake_is_a_problem(#[case] filter: Value) {
        let filter: Filter = serde_json::from_value(filter).expect("a filter");
        assert!(filter.problem().is_some());
    }
}
