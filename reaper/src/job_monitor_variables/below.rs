//! The variables as a layer below the configuration file.

use std::collections::BTreeMap;

use jobwarden_common::names::label;
use jobwarden_core::policy::{Changes, FilePolicy, PolicyField, Preset, Rule, Setting};

use super::{JobMonitorVariables, sink};
use crate::deliver::{Config, Format, SinkConfig};

impl JobMonitorVariables {
    /// The configuration that applies: that of the file, and below it what the variables say. Also returns a warning for each variable that
    /// the file overrides.
    pub fn below(&self, file: Config) -> (Config, Vec<String>) {
        let mut warnings = Vec::new();
        let policy = policy(self, file.policy, &mut warnings);
        let sinks = sinks(self, file.sinks, &mut warnings);
        (Config { sinks, policy, ..file }, warnings)
    }
}

/// The preset comes first: it has the defaults of the job monitor. Then come the timeouts of the variables, then the rules of the file.
fn policy(variables: &JobMonitorVariables, file: FilePolicy, warnings: &mut Vec<String>) -> FilePolicy {
    let FilePolicy { preset, mut set, rules } = file;
    if let Some(retention) = variables.retention {
        if set.sets(PolicyField::Retention) {
            warnings.push(overridden("MONITOR_REAPER_MAX_AGE", "policy.set.retention"));
        }
        set.fill([Setting::Retention(retention)]);
    }
    let mut timeouts = Vec::new();
    for (name, worker, setting) in variables.active_timeouts() {
        if set.sets(PolicyField::ActiveTimeout) {
            warnings.push(overridden(&name, "policy.set.activeTimeout"));
            continue;
        }
        let labels = BTreeMap::from([(label::ORT_WORKER.to_owned(), worker.to_owned())]);
        let same = rules.iter().find(|rule| *rule.labels() == labels && rule.set().sets(PolicyField::ActiveTimeout));
        if let Some(rule) = same {
            warnings.push(overridden(&name, &format!("the rule {} of policy.rules", rule.name())));
        }
        timeouts.push(Rule::new(name, labels, Changes::from_iter([setting])));
    }
    // A value for all Jobs in the file is meant for the workers as well, so a preset that the file does not name must not override it.
    let implied = (!set.sets(PolicyField::ActiveTimeout)).then_some(Preset::OrtServer);
    FilePolicy { preset: preset.or(implied), set, rules: timeouts.into_iter().chain(rules).collect() }
}

/// A sink of the file that sends ORT Server's messages is the one that is meant.
fn sinks(variables: &JobMonitorVariables, file: Vec<SinkConfig>, warnings: &mut Vec<String>) -> Vec<SinkConfig> {
    let Some(sink) = &variables.sink else { return file };
    let same = file.iter().find(|other| matches!(other.format, Format::OrtServer(_)) || other.name == sink::NAME);
    if let Some(same) = same {
        warnings.push(overridden("ORCHESTRATOR_SENDER_TRANSPORT_*", &format!("the sink {}", same.name)));
        return file;
    }
    file.into_iter().chain([sink.clone()]).collect()
}

fn overridden(variable: &str, by: &str) -> String {
    format!("environment variable {variable} has no effect: {by} of the configuration file wins")
}
