//! The part of the configuration file about policies: values for all Jobs, and rules for some.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jobwarden_common::names::label;
use serde::Deserialize;

use super::{
    OnContainerExit,
    labels::Labels,
    setting::{Changes, Setting},
};

/// How long each worker of ORT Server may run, in minutes: the defaults of its own configuration.
const ORT_MINUTES: [(&str, u64); 7] = [
    ("config", 1),
    ("analyzer", 120),
    ("advisor", 2),
    ("scanner", 1440),
    ("evaluator", 5),
    ("reporter", 30),
    ("notifier", 10),
];

/// The part `policy` of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilePolicy {
    /// Rules that come before those of the file.
    #[serde(default)]
    pub preset: Option<Preset>,
    /// For all Jobs.
    #[serde(default)]
    pub set: Changes,
    /// For some Jobs. All that match apply, a later one over an earlier one.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// Rules for a known orchestrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The OSS Review Toolkit's server: an active-timeout for each kind of worker, each of which is failed as soon as one of its
    /// containers fails.
    OrtServer,
}

/// A rule: what is set for Jobs with certain labels.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// What is shown as the origin of a value; by default, the labels.
    #[serde(default)]
    name: Option<String>,
    /// The labels, all of which a Job or its pod template has to carry.
    #[serde(rename = "match")]
    labels: BTreeMap<String, String>,
    /// What is set for such a Job.
    set: Changes,
}

impl Rule {
    /// The rule that sets `set` for Jobs with all of these labels.
    pub fn new(name: String, labels: BTreeMap<String, String>, set: Changes) -> Self {
        Self { name: Some(name), labels, set }
    }

    /// The labels that a Job has to carry.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// Whether it is a rule for a Job with these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// What it sets.
    pub fn set(&self) -> &Changes {
        &self.set
    }

    /// What is shown as the origin of a value.
    pub fn name(&self) -> Arc<str> {
        self.name.as_deref().map_or_else(
            || {
                let labels: Vec<_> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                labels.join(",").into()
            },
            Into::into,
        )
    }
}

impl FilePolicy {
    /// The same with the preset's rules written out.
    #[must_use]
    pub fn expanded(self) -> Self {
        let of_preset = match self.preset {
            None => Vec::new(),
            Some(Preset::OrtServer) => ORT_MINUTES.into_iter().map(ort_rule).collect(),
        };
        Self { rules: of_preset.into_iter().chain(self.rules).collect(), preset: None, ..self }
    }
}

fn ort_rule((worker, minutes): (&str, u64)) -> Rule {
    Rule {
        name: Some(format!("ort-server/{worker}")),
        labels: BTreeMap::from([(label::ORT_WORKER.to_owned(), worker.to_owned())]),
        set: Changes::from_iter([
            Setting::ActiveTimeout(Some(Duration::from_mins(minutes))),
            // ORT Server counts a Job as failed as soon as a container of it has failed.
            Setting::OnContainerExit(OnContainerExit::Fail),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(text: &str) -> Result<FilePolicy, String> {
        serde_saphyr::from_str::<FilePolicy>(text).map(FilePolicy::expanded).map_err(|error| error.to_string())
    }

    #[test]
    fn a_preset_is_rules_that_come_first() {
        let text = "preset: ort-server\nrules: [{match: {ort-worker: scanner}, set: {activeTimeout: never}}]";
        let rules = parse(text).expect("valid").rules;
        let minutes: Vec<_> = rules.iter().map(|rule| (rule.name().to_string(), rule.set.iter().next())).collect();
        let active = |minutes| Some(Setting::ActiveTimeout(Some(Duration::from_mins(minutes))));
        let expected = [
            ("ort-server/config".to_owned(), active(1)),
            ("ort-server/analyzer".to_owned(), active(120)),
            ("ort-server/advisor".to_owned(), active(2)),
            ("ort-server/scanner".to_owned(), active(1440)),
            ("ort-server/evaluator".to_owned(), active(5)),
            ("ort-server/reporter".to_owned(), active(30)),
            ("ort-server/notifier".to_owned(), active(10)),
            ("ort-worker=scanner".to_owned(), Some(Setting::ActiveTimeout(None))),
        ];
        assert_eq!(minutes, expected);
    }

    #[rstest]
    #[case("{}", true)]
    #[case("set: {lostAfter: 90s, notifyLate: true, onLost: fail}", true)]
    #[case("rules: [{name: big, match: {size: big}, set: {activeTimeout: 4h}}]", true)]
    #[case("set: {lostAfter: 90}", false)]
    #[case("set: {lostAfter: soon}", false)]
    #[case("set: {lost-after: 90s}", false)]
    #[case("set: {colour: red}", false)]
    #[case("preset: argo", false)]
    #[case("rules: [{set: {lostAfter: 90s}}]", false)]
    #[case("rules: [{match: {a: b}, set: {lostAfter: 90s}, colour: red}]", false)]
    fn an_invalid_policy_is_rejected(#[case] text: &str, #[case] accepted: bool) {
        assert_eq!(parse(text).is_ok(), accepted, "{text}: {:?}", parse(text));
    }
}
