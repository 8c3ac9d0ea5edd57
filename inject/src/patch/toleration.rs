//! The tolerations of an unreachable node and of one that is not ready: a live worker then outlives its kubelet, and the reaper, not
//! the taint manager, decides whether it is lost.
//!
//! The API server's admission plugin `DefaultTolerationSeconds` is on by default and runs before every webhook. It gives each
//! pod without such tolerations five minutes, so every pod that reaches a webhook has both. A toleration equal to the plugin's
//! is therefore assumed to be the plugin's and is extended; any other is the creator's and stays.

use std::time::Duration;

use serde_json::{Value, json};

use super::operations::{Operations, Path};
use crate::view::Toleration;

/// The taints: the node controller sets the first when the kubelet no longer reports, the second when the kubelet says that it
/// is not ready.
const TAINTS: [&str; 2] = ["node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"];

const NO_EXECUTE: &str = "NoExecute";

/// The plugin's toleration, in seconds (kube-apiserver's `--default-unreachable-toleration-seconds` and
/// `--default-not-ready-toleration-seconds`).
const PLUGIN_SECONDS: i64 = 300;

const TOLERATIONS: Path<'static> = &["spec", "tolerations"];

/// A change to a pod's tolerations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Add a toleration: the pod has none for the taint.
    Add {
        /// The key of the taint.
        taint: &'static str,
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

/// Writes the changes after which a pod with these tolerations stays for `grace` on a node that is unreachable or not ready.
pub(super) fn tolerate(operations: &mut Operations, tolerations: Option<&[Toleration<'_>]>, grace: Duration) {
    let mut added = Vec::new();
    for change in needed(tolerations, grace) {
        match change {
            Change::Add { taint, seconds } => added.push(toleration(taint, seconds)),
            Change::Extend { index, seconds } => {
                operations.replace(&[TOLERATIONS, &[&index.to_string(), "tolerationSeconds"]].concat(), seconds);
            }
        }
    }
    if tolerations.is_some() {
        for toleration in added {
            operations.insert(tolerations, TOLERATIONS, false, toleration);
        }
    } else if !added.is_empty() {
        operations.add(TOLERATIONS, added);
    }
}

/// One change at most for each taint; none if the pod's creator set a toleration or `grace` is zero.
fn needed(tolerations: Option<&[Toleration<'_>]>, grace: Duration) -> impl Iterator<Item = Change> {
    let seconds = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
    TAINTS.into_iter().filter(move |_| seconds > 0).filter_map(move |taint| {
        let mut tolerating = tolerations.unwrap_or_default().iter().enumerate().filter(|(_, it)| tolerates(it, taint));
        match (tolerating.next(), tolerating.next()) {
            (None, _) => Some(Change::Add { taint, seconds }),
            (Some((index, only)), None) if is_the_plugins(only, taint) && seconds != PLUGIN_SECONDS => {
                Some(Change::Extend { index, seconds })
            }
            _ => None,
        }
    })
}

/// The toleration that [`Change::Add`] adds.
fn toleration(taint: &str, seconds: i64) -> Value {
    json!({ "key": taint, "operator": "Exists", "effect": NO_EXECUTE, "tolerationSeconds": seconds })
}

/// Follows Kubernetes (`Toleration.ToleratesTaint` of k8s.io/api/core/v1) for a taint without a value.
fn tolerates(toleration: &Toleration<'_>, taint: &str) -> bool {
    let Toleration { key, operator, value, effect, toleration_seconds: _ } = toleration;
    let any_or =
        |text: &Option<_>, wanted: &str| text.as_deref().is_none_or(|text: &str| text.is_empty() || text == wanted);
    any_or(effect, NO_EXECUTE)
        && any_or(key, taint)
        && match operator.as_deref().unwrap_or_default() {
            "Exists" => true,
            "" | "Equal" => value.as_deref().is_none_or(str::is_empty),
            _ => false,
        }
}

fn is_the_plugins(toleration: &Toleration<'_>, taint: &str) -> bool {
    let Toleration { key, operator, value, effect, toleration_seconds } = toleration;
    key.as_deref() == Some(taint)
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
    const ADD: Option<Change> = Some(Change::Add { taint: TAINTS[0], seconds: 3600 });

    /// The changes for both taints, that of the unreachable node first.
    fn decide(tolerations: &Value, grace: Duration) -> Vec<Change> {
        let text = tolerations.to_string();
        let tolerations: Option<Vec<Toleration<'_>>> =
            serde_json::from_str(&text).expect("the test's tolerations are valid");
        needed(tolerations.as_deref(), grace).collect()
    }

    /// `tolerations` with each mention of an unreachable node replaced by one that is not ready, and the other way round.
    fn swapped(tolerations: &Value) -> Value {
        let text = tolerations.to_string().replace("unreachable", "?").replace("not-ready", "unreachable");
        serde_json::from_str(&text.replace('?', "not-ready")).expect("still JSON")
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
        let of = |tolerations: &Value, taint| {
            let changes = decide(tolerations, GRACE);
            let of_taint = |change: &Change| match change {
                Change::Add { taint: its, .. } => *its == taint,
                Change::Extend { index, .. } => tolerations[index]["key"] == taint,
            };
            changes.into_iter().find(of_taint)
        };
        assert_eq!(of(&tolerations, TAINTS[0]), expected);
        let other = expected.map(|change| match change {
            Change::Add { seconds, .. } => Change::Add { taint: TAINTS[1], seconds },
            extend @ Change::Extend { .. } => extend,
        });
        assert_eq!(of(&swapped(&tolerations), TAINTS[1]), other);
    }

    #[test]
    fn a_grace_of_zero_changes_nothing() {
        assert_eq!(decide(&json!([]), Duration::ZERO), []);
    }

    #[test]
    fn the_added_toleration_is_not_added_twice() {
        assert_eq!(decide(&json!(TAINTS.map(|taint| toleration(taint, 3600))), GRACE), []);
    }

    #[test]
    fn a_grace_equal_to_the_plugins_changes_nothing() {
        let grace = Duration::from_secs(PLUGIN_SECONDS.unsigned_abs());
        assert_eq!(decide(&json!(TAINTS.map(|taint| toleration(taint, PLUGIN_SECONDS))), grace), []);
    }
}
