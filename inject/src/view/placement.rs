//! Which nodes a pod may run on.

use serde::Deserialize;

use super::json::Text;

/// Affinity of a pod, as far as it names nodes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Affinity<'a> {
    /// Affinity to nodes.
    #[serde(borrow)]
    pub node_affinity: Option<NodeAffinity<'a>>,
}

/// Affinity to nodes, as far as it excludes nodes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeAffinity<'a> {
    /// What a node must have.
    #[serde(borrow, rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector<'a>>,
}

/// Alternatives, one of which a node must match.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelector<'a> {
    /// The alternatives.
    #[serde(borrow)]
    pub node_selector_terms: Option<Vec<NodeSelectorTerm<'a>>>,
}

/// Requirements, all of which a node must match.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelectorTerm<'a> {
    /// Requirements on labels.
    #[serde(borrow)]
    pub match_expressions: Option<Vec<NodeRequirement<'a>>>,
}

/// A requirement on one label of a node.
#[derive(Clone, Debug, Deserialize)]
pub struct NodeRequirement<'a> {
    /// Key of the label.
    #[serde(borrow)]
    pub key: Text<'a>,
    /// `In`, `NotIn`, `Exists`, and others.
    #[serde(borrow)]
    pub operator: Text<'a>,
    /// Values, if the operator takes any.
    #[serde(borrow)]
    pub values: Option<Vec<Text<'a>>>,
}
