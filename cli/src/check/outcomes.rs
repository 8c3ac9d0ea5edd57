//! Outcomes whose delivery to a sink has failed for good.

use kube::{ResourceExt as _, api::DynamicObject};
use serde_json::Value;

use super::{
    finding::{Finding, Section, all, some_of},
    snapshot::Snapshot,
};
use crate::output::printable;

/// The state of a delivery that was given up.
const DEAD: &str = "dead";

/// The default of `--system-namespace`.
const DEFAULT_NAMESPACE: &str = "jobwarden";

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
        let namespace = match snapshot.namespace.as_str() {
            DEFAULT_NAMESPACE => String::new(),
            other => format!(" --system-namespace {other}"),
        };
        let message = format!("outcomes whose delivery has failed for good: {}", some_of(&names));
        let hint = format!(
            "last error of the sink {sink}: {}\nsee jobwarden outcomes show {}{namespace}\nwhen the sink is back: jobwarden sinks test \
             {sink}{namespace} && jobwarden outcomes redeliver --all-dead --sink {sink}{namespace}",
            printable(&text("lastError")),
            first.name_any(),
            sink = text("name"),
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
            "status": {"sinks": [{"name": "orchestrator", "state": state, "lastError": "connection refused\u{1b}"}]},
        });
        snapshot.outcomes = Ok(vec![serde_json::from_value(outcome).expect("an object")]);
        let findings = check(&snapshot);
        assert_eq!(findings[0].status, expected);
        if expected == Status::Warning {
            assert!(findings[0].message.ends_with("o-1"), "{findings:?}");
            let expected = "last error of the sink orchestrator: connection refused\\u{1b}
see jobwarden outcomes show o-1
when the sink is back: jobwarden sinks test orchestrator && jobwarden outcomes redeliver --all-dead --sink orchestrator";
            assert_eq!(findings[0].hint.as_deref(), Some(expected));
        }
    }
}
