//! The rules for well-known orchestrators.

use serde::Deserialize;

use super::rule::{Part, Place, Rule};

/// The rules for a well-known orchestrator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// No rules: only jobwarden's own labels and annotations, set by the creator of the Job.
    #[default]
    Generic,
    /// The OSS Review Toolkit's server. Its label `ort-worker` names the kind of worker, not the job, so it is not an ID.
    OrtServer,
    /// Jobmon of the IHME. The task instance is an argument of the worker node, possibly inside a shell command. The run ID is
    /// nowhere in the pod: the worker node receives it from the server and passes it only to its own child process.
    Jobmon,
}

/// The rules of a preset for each ID, in order.
#[derive(Debug, Default)]
pub(super) struct PresetRules {
    pub(super) run: Vec<Rule>,
    pub(super) job: Vec<Rule>,
    pub(super) trace: Vec<Rule>,
}

impl Preset {
    /// The rules of this preset.
    ///
    /// # Panics
    /// Never: pointers and patterns are constants, and a test parses each of them.
    pub(super) fn rules(self) -> PresetRules {
        match self {
            Self::Generic => PresetRules::default(),
            Self::OrtServer => PresetRules {
                run: vec![label("run-id"), env("runId")],
                job: vec![Rule::new(
                    Place::Env { name: "payload".to_owned(), container: None },
                    Part { pointer: Some("/*JobId".parse().expect("the constant pointer is valid")), regex: None },
                )],
                trace: vec![Rule::whole(Place::NumberedLabels("trace-id-".to_owned())), env("traceId")],
            },
            Self::Jobmon => PresetRules {
                run: Vec::new(),
                job: vec![
                    Rule::whole(Place::Arg { name: Some("--task_instance_id".to_owned()), container: None }),
                    Rule::new(
                        Place::Arg { name: None, container: None },
                        Part {
                            pointer: None,
                            regex: Some(
                                r"(?:^|\s)--task_instance_id[=\s]+(\d+)"
                                    .parse()
                                    .expect("the constant pattern is valid"),
                            ),
                        },
                    ),
                ],
                trace: Vec::new(),
            },
        }
    }
}

fn label(key: &str) -> Rule {
    Rule::whole(Place::Label(key.to_owned()))
}

fn env(name: &str) -> Rule {
    Rule::whole(Place::Env { name: name.to_owned(), container: None })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Preset::Generic)]
    #[case(Preset::OrtServer)]
    #[case(Preset::Jobmon)]
    fn the_constant_pointers_and_patterns_of_a_preset_parse(#[case] preset: Preset) {
        preset.rules();
    }
}
