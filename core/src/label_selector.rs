//! Label selectors, as Kubernetes evaluates them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Whether `selector` selects an object with the labels that `value_of` looks up, as `metav1.LabelSelectorAsSelector` has it: everything
/// has to hold, and an empty selector selects every object.
pub fn selects<'a>(selector: &LabelSelector, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
    let mut exact = selector.match_labels.iter().flatten();
    let mut requirements = selector.match_expressions.iter().flatten();
    exact.all(|(key, value)| value_of(key) == Some(value))
        && requirements.all(|requirement| holds(requirement, value_of(&requirement.key)))
}

/// Whether `selector` asks for nothing.
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.iter().flatten().next().is_none()
        && selector.match_expressions.iter().flatten().next().is_none()
}

/// The first requirement of `selector` that the API server would refuse, as a sentence; `None` if it is valid.
pub fn problem(selector: &LabelSelector) -> Option<String> {
    selector.match_expressions.iter().flatten().find_map(|LabelSelectorRequirement { key, operator, values }| {
        let has_values = values.iter().flatten().next().is_some();
        match operator.as_str() {
            "In" | "NotIn" if has_values => None,
            "In" | "NotIn" => Some(format!("the operator {operator} of {key} needs values")),
            "Exists" | "DoesNotExist" if !has_values => None,
            "Exists" | "DoesNotExist" => Some(format!("the operator {operator} of {key} takes no values")),
            _ => Some(format!("{operator:?} of {key} is no operator: use In, NotIn, Exists or DoesNotExist")),
        }
    })
}

fn holds(requirement: &LabelSelectorRequirement, value: Option<&str>) -> bool {
    let listed = value.is_some_and(|value| requirement.values.iter().flatten().any(|listed| listed == value));
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::everything(json!({}), true)]
    #[case::the_value(json!({"matchLabels": {"team": "a"}}), true)]
    #[case::another_value(json!({"matchLabels": {"team": "b"}}), false)]
    #[case::listed(json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["b", "a"]}]}), true)]
    #[case::not_listed(json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}), false)]
    #[case::absent_is_not_listed(json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["a"]}]}), true)]
    #[case::there(json!({"matchExpressions": [{"key": "team", "operator": "Exists"}]}), true)]
    #[case::not_there(json!({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}), false)]
    #[case::both_have_to_hold(json!({"matchLabels": {"team": "a"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}), false)]
    fn it_selects_as_kubernetes_does(#[case] selector: Value, #[case] expected: bool) {
        let selector: LabelSelector = serde_json::from_value(selector).expect("a selector");
        assert_eq!(selects(&selector, |key| (key == "team").then_some("a")), expected);
    }

    #[rstest]
    #[case(json!({"key": "a", "operator": "In", "values": ["x"]}), true)]
    #[case(json!({"key": "a", "operator": "In"}), false)]
    #[case(json!({"key": "a", "operator": "Exists", "values": ["x"]}), false)]
    #[case(json!({"key": "a", "operator": "Like", "values": ["x"]}), false)]
    fn what_the_api_server_would_refuse_is_a_problem(#[case] requirement: Value, #[case] valid: bool) {
        let selector = serde_json::from_value(json!({"matchExpressions": [requirement]})).expect("a selector");
        assert_eq!(problem(&selector).is_none(), valid);
    }
}
