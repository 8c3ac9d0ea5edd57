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

/// Parses a selector as `kubectl --selector` takes it: requirements separated by commas, each `key`, `!key`, `key=value`, `key!=value`,
/// `key in (a, b)` or `key notin (a, b)`. The error says what is wrong.
pub fn parse(text: &str) -> Result<LabelSelector, String> {
    let requirements = split(text).map(|part| requirement(part.trim())).collect::<Result<Vec<_>, _>>()?;
    Ok(LabelSelector { match_expressions: Some(requirements), match_labels: None })
}

/// The parts between commas that stand outside of parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    text.split(move |letter: char| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        letter == ',' && depth == 0
    })
}

fn requirement(text: &str) -> Result<LabelSelectorRequirement, String> {
    let wrong = || {
        format!("{text:?} is no requirement: use key, !key, key=value, key!=value, key in (a, b) or key notin (a, b)")
    };
    let one = |value: &str| Some(vec![value.trim().to_owned()]);
    let listed = text.strip_suffix(')').and_then(|text| text.split_once('('));
    let (key, operator, values) = if let Some((head, list)) = listed {
        let (key, operator) = head.trim().rsplit_once(' ').ok_or_else(wrong)?;
        let operator = match operator {
            "in" => "In",
            "notin" => "NotIn",
            _ => return Err(wrong()),
        };
        (key, operator, Some(list.split(',').map(|value| value.trim().to_owned()).collect()))
    } else if let Some((key, value)) = text.split_once("!=") {
        (key, "NotIn", one(value))
    } else if let Some((key, value)) = text.split_once('=') {
        (key, "In", one(value.strip_prefix('=').unwrap_or(value)))
    } else if let Some(key) = text.strip_prefix('!') {
        (key, "DoesNotExist", None)
    } else {
        (text, "Exists", None)
    };
    let key = key.trim();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    let is_plain = |text: &str| text.chars().all(plain);
    if key.is_empty() || !is_plain(key) || !values.iter().flatten().all(|value| is_plain(value)) {
        return Err(wrong());
    }
    Ok(LabelSelectorRequirement { key: key.to_owned(), operator: operator.to_owned(), values })
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
    #[case("ort-worker", json!([{"key": "ort-worker", "operator": "Exists"}]))]
    #[case("!ort-worker", json!([{"key": "ort-worker", "operator": "DoesNotExist"}]))]
    #[case("a=b, c == d ,e!=f", json!([
        {"key": "a", "operator": "In", "values": ["b"]}, {"key": "c", "operator": "In", "values": ["d"]},
        {"key": "e", "operator": "NotIn", "values": ["f"]}
    ]))]
    #[case("x.io/y in (a, b),z notin (c)", json!([
        {"key": "x.io/y", "operator": "In", "values": ["a", "b"]}, {"key": "z", "operator": "NotIn", "values": ["c"]}
    ]))]
    fn the_form_of_kubectl_is_read(#[case] text: &str, #[case] expected: Value) {
        let expected: LabelSelector =
            serde_json::from_value(json!({ "matchExpressions": expected })).expect("a selector");
        assert_eq!(parse(text), Ok(expected));
    }

    #[rstest]
    #[case("")]
    #[case("a,")]
    #[case("=b")]
    #[case("a like (b)")]
    #[case("a in b")]
    #[case("a in (b")]
    #[case("a in (b))")]
    #[case("a=b=c")]
    #[case("a b")]
    fn what_kubectl_would_refuse_is_an_error(#[case] text: &str) {
        assert!(parse(text).is_err(), "{:?}", parse(text));
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
