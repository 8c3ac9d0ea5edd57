//! Outcomes whose delivery to a sink has failed for good.

use kube::{ResourceExt as _, api::DynamicObject};
use serde_json::Value;

use super::{
    finding::{Finding, Section, all, some_of},
    snapshot::Snapshot,
};

/// The state of a delivery that has expired.
const DEAD: &str = "dead";

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let section = Section::Outcomes;
    if snapshot.crd.as_ref().is_ok_and(Option::is_none) {
        return Vec::new(); // Reported by the section installation.
    }
    let found = section.available("the JobOutcomes", &snapshot.outcomes).map(|outcomes| {
        let dead: Vec<&DynamicObject> =
            outcomes.iter().filter(|it| sinks(it).any(|sink| sink["state"] == DEAD)).collect();
        let Some(first) = dead.first() else {
            return vec![section.ok("no delivery of an outcome has failed for good")];
        };
        let sink = sinks(first).find(|sink| sink["state"] == DEAD).cloned().unwrap_or_default();
        let text = |key: &str| sink[key].as_str().unwrap_or("unknown").to_owned();
        let names: Vec<String> = dead.iter().map(|it| it.name_any()).collect();
        let message = format!("outcomes whose delivery has failed for good: {}", some_of(&names));
        let hint = format!(
            "last error of the sink {}: {}\nsee kubectl -n {} get joboutcome {} -o yaml",
            text("name"),
            text("lastError"),
            snapshot.namespace,
            first.name_any()
        );
        vec![section.warning(message, hint)]
    });
    all(found)
}

fn sinks(outcome: &DynamicObject) -> impl Iterator<Item = &Value> {
    outcome.data["status"]["sinks"].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::check::{finding::Status, healthy};

    #[rstest]
    #[case("dead", Status::Warning)]
    #[case("pending", Status::Ok)]
    #[case("acknowledged", Status::Ok)]
    fn a_dead_delivery_is_a_warning_with_the_last_error(#[case] state: &str, #[case] expected: Status) {
        let mut snapshot = healthy::snapshot();
        let outcome = json!({
            "metadata": {"name": "o-1"},
            "status": {"sinks": [{"name": "orchestrator", "state": state, "lastError": "connection refused"}]},
        });
        snapshot.outcomes = Ok(vec![serde_json::from_value(outcome).expect("an object")]);
        let findings = check(&snapshot);
        assert_eq!(findings[0].status, expected);
        if expected == Status::Warning {
            assert!(findings[0].message.ends_with("o-1"), "{findings:?}");
            assert!(
                findings[0].hint.as_ref().is_some_and(|hint| hint.contains("sink orchestrator: connection refused"))
            );
        }
    }
}
