//! The rules for well-known orchestrators.

use serde::Deserialize;

use super::{
    Rules,
    rule::{Part, Place, Rule},
};

/// The rules for a well-known orchestrator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// None: only our own labels and annotations, set by whoever creates the Job.
    #[default]
    Generic,
    /// The OSS Review Toolkit's server. Its label `ort-worker` names the kind of worker, not the job, and is no ID.
    OrtServer,
    /// Jobmon of the IHME. A task instance is known by the argument of its worker node, which may stand inside a shell's command.
    /// The run stands nowhere in the pod: the worker node hears of it from the server, and tells only its own child.
    Jobmon,
}

impl Preset {
    /// The rules that it stands for.
    ///
    /// # Panics
    /// Never: pointers and patterns are constants, and a test reads each of them.
    pub(super) fn rules(self) -> Rules {
        match self {
            Self::Generic => Rules::default(),
            Self::OrtServer => Rules {
                run: vec![label("run-id"), env("runId")],
                job: vec![Rule::new(
                    Place::Env { name: "payload".to_owned(), container: None },
                    Part { pointer: Some("/*JobId".parse().expect("a constant pointer is a pointer")), regex: None },
                )],
                trace: vec![Rule::whole(Place::NumberedLabels("trace-id-".to_owned())), env("traceId")],
            },
            Self::Jobmon => Rules {
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
                                    .expect("a constant pattern is a pattern"),
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
    fn the_constants_of_a_preset_are_what_they_shall_be(#[case] preset: Preset) {
        preset.rules();
    }
}
