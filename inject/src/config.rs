//! The configuration file.
//!
//! ```yaml
//! identity:
//!   preset: ort-server
//!   runId:
//!     - label: example.com/run
//!     - env: { name: PAYLOAD, container: main, pointer: /run/id }
//! ```

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::identity::{
    Rules,
    pointer::Pointer,
    rule::{EnvRule, Rule},
};

/// The configuration file, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where IDs are found.
    pub identity: IdentityConfig,
}

/// Where IDs are found. Rules given here are tried before those of the preset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// The rules for a well-known orchestrator.
    pub preset: Preset,
    /// For the run ID.
    pub run_id: Vec<Rule>,
    /// For the job ID.
    pub job_id: Vec<Rule>,
    /// For the trace ID.
    pub trace_id: Vec<Rule>,
}

/// The rules for a well-known orchestrator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// None: only our own labels and annotations, set by whoever creates the Job.
    #[default]
    Generic,
    /// The OSS Review Toolkit's server. Its label `ort-worker` names the kind of worker, not the job, and is no ID.
    OrtServer,
}

impl Preset {
    /// The rules that it stands for.
    ///
    /// # Panics
    /// Never: the pointers are constants, and a test reads each of them.
    pub(crate) fn rules(self) -> Rules {
        let env = |name: &str, pointer: Option<&str>| {
            let pointer: Option<Pointer> = pointer.map(|text| text.parse().expect("a constant pointer is a pointer"));
            Rule::Env(EnvRule { name: name.to_owned(), container: None, pointer })
        };
        match self {
            Self::Generic => Rules::default(),
            Self::OrtServer => Rules {
                run: vec![Rule::Label("run-id".to_owned()), env("runId", None)],
                job: vec![env("payload", Some("/*JobId"))],
                trace: vec![Rule::NumberedLabels("trace-id-".to_owned()), env("traceId", None)],
            },
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}; --config names it", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not say what it should.
    #[error("the configuration file {} is not understood: {reason}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
}

impl Config {
    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|reason| ConfigError::Parse { path: path.to_owned(), reason })
    }

    /// An empty text is a configuration too: the default.
    fn parse(text: &str) -> Result<Self, String> {
        let config: Option<Self> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        Ok(config.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn every_kind_of_rule_is_read() {
        let text = "
identity:
  preset: ort-server
  runId:
    - label: run
    - annotation: example.com/run
    - env: { name: PAYLOAD, container: main, pointer: /*Id }
  traceId:
    - numberedLabels: trace-
";
        let config = Config::parse(text).expect("a good file");
        let env = EnvRule {
            name: "PAYLOAD".to_owned(),
            container: Some("main".to_owned()),
            pointer: Some("/*Id".parse().expect("a pointer")),
        };
        let run_id =
            vec![Rule::Label("run".to_owned()), Rule::Annotation("example.com/run".to_owned()), Rule::Env(env)];
        let trace_id = vec![Rule::NumberedLabels("trace-".to_owned())];
        let identity = IdentityConfig { preset: Preset::OrtServer, run_id, job_id: Vec::new(), trace_id };
        assert_eq!(config, Config { identity });
    }

    #[rstest]
    #[case("")]
    #[case("# nothing but a comment\n")]
    #[case("identity: {}")]
    #[case("identity: { preset: generic }")]
    fn what_is_not_said_is_the_default(#[case] text: &str) {
        assert_eq!(Config::parse(text), Ok(Config::default()));
    }

    #[rstest]
    #[case::unknown_preset("identity: { preset: airflow }", "airflow")]
    #[case::unknown_key("identity: { runID: [] }", "runID")]
    #[case::unknown_rule("identity: { runId: [ { header: x } ] }", "header")]
    #[case::bad_pointer("identity: { runId: [ { env: { name: A, pointer: id } } ] }", "slash")]
    #[case::not_yaml("identity: [", "")]
    fn a_mistake_is_named(#[case] text: &str, #[case] named: &str) {
        let error = Config::parse(text).expect_err("a bad file");
        assert!(error.contains(named), "{error}");
    }

    #[rstest]
    #[case(Preset::Generic)]
    #[case(Preset::OrtServer)]
    fn the_pointers_of_a_preset_are_pointers(#[case] preset: Preset) {
        preset.rules();
    }
}
