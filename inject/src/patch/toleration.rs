//! The toleration of an unreachable node: a live worker then outlives its kubelet, and the reaper, not the taint manager, decides
//! whether it is lost.
//!
//! The API server's admission plugin `DefaultTolerationSeconds` is on by default and runs before every webhook. It gives each
//! pod without such a toleration five minutes, so every pod that reaches a webhook has one. A toleration equal to the plugin's
//! is therefore assumed to be the plugin's and is extended; any other is the creator's and stays.

use std::time::Duration;

use serde_json::{Value, json};

use crate::view::Toleration;

/// The taint of an unreachable node.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NO_EXECUTE: &str = "NoExecute";

/// The plugin's toleration, in seconds (kube-apiserver's `--default-unreachable-toleration-seconds`).
const PLUGIN_SECONDS: i64 = 300;

/// A change to a pod's tolerations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Add a toleration: the pod has none for the taint.
    Add {
        /// How long the pod tolerates the taint.
        seconds: i64,
    },
    /// Extend the toleration at `index`, which is the plugin's.
    Extend {
        /// Index of the toleration.
        index: usize,
        /// How long the pod tolerates the taint.
        seconds: i64,
    },
}

/// The change after which a pod with these tolerations stays on an unreachable node for `grace`; `None` if its creator set a
/// toleration or `grace` is zero.
pub fn needed(tolerations: Option<&[Toleration<'_>]>, grace: Duration) -> Option<Change> {
    let seconds = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
    if seconds == 0 {
        return None;
    }
    let mut tolerating = tolerations.unwrap_or_default().iter().enumerate().filter(|(_, it)| tolerates_unreachable(it));
    match (tolerating.next(), tolerating.next()) {
        (None, _) => Some(Change::Add { seconds }),
        (Some((index, only)), None) if is_the_plugins(only) && seconds != PLUGIN_SECONDS => {
            Some(Change::Extend { index, seconds })
        }
        _ => None,
    }
}

/// The toleration that [`Change::Add`] adds.
pub fn unreachable(seconds: i64) -> Value {
    json!({ "key": UNREACHABLE, "operator": "Exists", "effect": NO_EXECUTE, "tolerationSeconds": seconds })
}

/// Follows Kubernetes (`Toleration.ToleratesTaint` of k8s.io/api/core/v1) for a taint without a value.
fn tolerates_unreachable(toleration: &Toleration<'_>) -> bool {
    let Toleration { key, operator, value, effect, toleration_seconds: _ } = toleration;
    let any_or =
        |text: &Option<_>, wanted: &str| text.as_deref().is_none_or(|text: &str| text.is_empty() || text == wanted);
    any_or(effect, NO_EXECUTE)
        && any_or(key, UNREACHABLE)
        && match operator.as_deref().unwrap_or_default() {
            "Exists" => true,
            "" | "Equal" => value.as_deref().is_none_or(str::is_empty),
            _ => false,
        }
}

fn is_the_plugins(toleration: &Toleration<'_>) -> bool {
    let Toleration { key, operator, value, effect, toleration_seconds } = toleration;
    key.as_deref() == Some(UNREACHABLE)
        && operator.as_deref() == Some("Exists")
        && value.as_deref().is_none_or(str::is_empty)
        && effect.as_deref() == Some(NO_EXECUTE)
        && *toleration_seconds == Some(PLUGIN_SECONDS)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const GRACE: Duration = Duration::from_hours(1);
    const ADD: Option<Change> = Some(Change::Add { seconds: 3600 });

    fn decide(tolerations: &Value, grace: Duration) -> Option<Change> {
        let text = tolerations.to_string();
        let tolerations: Option<Vec<Toleration<'_>>> =
            serde_json::from_str(&text).expect("the test's tolerations are valid");
        needed(tolerations.as_deref(), grace)
    }

    #[rstest]
    #[case::none(json!(null), ADD)]
    #[case::empty(json!([]), ADD)]
    #[case::another_taint(json!([{"key": "gpu", "operator": "Exists"}]), ADD)]
    #[case::another_effect(json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoSchedule"}]), ADD)]
    #[case::another_value(json!([{"key": "node.kubernetes.io/unreachable", "value": "x"}]), ADD)]
    #[case::unknown_operator(json!([{"key": "node.kubernetes.io/unreachable", "operator": "Gt", "value": "1"}]), ADD)]
    #[case::everything(json!([{"operator": "Exists"}]), None)]
    #[case::every_effect(json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists"}]), None)]
    #[case::equal_to_no_value(json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]), None)]
    #[case::own_time(
        json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}]),
        None
    )]
    #[case::the_plugins(
        json!([
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
        ]),
        Some(Change::Extend { index: 1, seconds: 3600 })
    )]
    #[case::the_plugins_beside_a_wider_one(
        json!([
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"operator": "Exists"},
        ]),
        None
    )]
    fn only_pods_without_a_toleration_of_their_creator_get_the_grace(
        #[case] tolerations: Value,
        #[case] expected: Option<Change>,
    ) {
        assert_eq!(decide(&tolerations, GRACE), expected);
    }

    #[test]
    fn a_grace_of_zero_changes_nothing() {
        assert_eq!(decide(&json!([]), Duration::ZERO), None);
    }

    #[test]
    fn the_added_toleration_is_not_added_twice() {
        assert_eq!(decide(&json!([unreachable(3600)]), GRACE), None);
    }

    #[test]
    fn a_grace_equal_to_the_plugins_changes_nothing() {
        let grace = Duration::from_secs(PLUGIN_SECONDS.unsigned_abs());
        assert_eq!(decide(&json!([unreachable(PLUGIN_SECONDS)]), grace), None);
    }
}
