//! The configuration file.
//!
//! ```yaml
//! identity:
//!   preset: ort-server
//!   runId:
//!     - label: example.com/run
//!     - env: { name: PAYLOAD, container: main, pointer: /run/id }
//! sidecar:
//!   namespaces:
//!     work: { memory: 64Mi }
//!   limits:
//!     memory: { most: 128Mi }
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;

pub use crate::identity::IdentityConfig;
use crate::patch::{sidecar::Size, size_limits::SizeLimits};

/// The whole configuration file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to find IDs.
    pub identity: IdentityConfig,
    /// Settings of the sidecars.
    pub sidecar: SidecarConfig,
}

/// Settings of the sidecars that differ by namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SidecarConfig {
    /// Sidecar sizes by namespace, for example where a `LimitRange` requires more than the default.
    pub namespaces: BTreeMap<String, Size>,
    /// The sizes that annotations may ask for.
    pub limits: SizeLimits,
}

/// Why a configuration file is invalid, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl Config {
    /// Parses a configuration file. An empty file is the default configuration.
    ///
    /// # Errors
    /// The file is not valid YAML, or a key or value is invalid.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Option<Self> = serde_saphyr::from_str(text).map_err(|error| ConfigError(error.to_string()))?;
        Ok(config.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{identity::preset::Preset, patch::quantity::Quantity};

    #[test]
    fn every_kind_of_rule_is_parsed_and_displayed_as_written() {
        let text = r"
identity:
  preset: jobmon
  runId:
    - label: run
    - annotation: example.com/run
    - label: {key: example.com/run, regex: 'run-(\d+)'}
    - env: {name: PAYLOAD, container: main, pointer: /*Id, regex: '''(.*)'''}
    - env: RUN
  jobId:
    - arg: --job-id
    - arg: {name: --job, container: main}
    - arg: {regex: 'job=(\d+)'}
  traceId:
    - numberedLabels: trace-
sidecar:
  namespaces:
    work: { cpu: 20m, memory: 64Mi }
    play: {}
  limits:
    cpu: { most: 100m }
    memory: { least: 16Mi }
";
        let Config { identity, sidecar } = Config::parse(text).expect("a valid file");
        let IdentityConfig { preset, run_id, job_id, trace_id } = identity;
        assert_eq!(preset, Preset::Jobmon);
        let written: Vec<String> =
            run_id.iter().chain(&job_id).chain(&trace_id).map(|rule| format!("    - {rule}")).collect();
        let rules: Vec<&str> = text.lines().filter(|line| line.starts_with("    - ")).collect();
        assert_eq!(written, rules);
        let size = &sidecar.namespaces["work"];
        let texts = [&size.cpu, &size.memory].map(|quantity| quantity.as_ref().map(Quantity::as_str));
        assert_eq!(texts, [Some("20m"), Some("64Mi")]);
        assert_eq!(sidecar.namespaces["play"], Size::default());
        assert_ne!(sidecar.limits, SizeLimits::default());
    }

    #[rstest]
    #[case("")]
    #[case("# nothing but a comment\n")]
    #[case("identity: {}")]
    #[case("identity: { preset: generic }")]
    #[case("sidecar: {}")]
    fn an_absent_key_means_the_default(#[case] text: &str) {
        assert_eq!(Config::parse(text), Ok(Config::default()));
    }

    #[rstest]
    #[case::unknown_preset("identity: { preset: airflow }", "airflow")]
    #[case::unknown_key("identity: { runID: [] }", "runID")]
    #[case::unknown_rule("identity: { runId: [ { header: x } ] }", "header")]
    #[case::bad_pointer("identity: { runId: [ { env: { name: A, pointer: id } } ] }", "slash")]
    #[case::bad_regex("identity: { runId: [ { label: { key: a, regex: 'run-(' } } ] }", "run-(")]
    #[case::too_large_a_regex("identity: { runId: [ { label: { key: a, regex: '(.{500}){500}' } } ] }", "size limit")]
    #[case::unknown_member("identity: { runId: [ { label: { key: a, container: b } } ] }", "container")]
    #[case::env_without_a_name("identity: { runId: [ { env: { container: main } } ] }", "needs the variable's name")]
    #[case::arg_without_a_name("identity: { jobId: [ { arg: { container: main } } ] }", "needs a name or a regex")]
    #[case::not_a_rule("identity: { jobId: [ { arg: 7 } ] }", "a name, or a map")]
    #[case::too_little_memory("sidecar: { namespaces: { work: { memory: 8Mi } } }", "12Mi")]
    #[case::not_a_quantity("sidecar: { namespaces: { work: { cpu: fast } } }", "fast")]
    #[case::limits_that_exclude_all("sidecar: { limits: { cpu: { least: 2, most: 100m } } }", "least is above most")]
    #[case::not_a_resource("sidecar: { limits: { disk: { most: 1Gi } } }", "disk")]
    #[case::not_yaml("identity: [", "")]
    fn an_error_names_the_invalid_key_or_value(#[case] text: &str, #[case] named: &str) {
        let error = Config::parse(text).expect_err("an invalid file").to_string();
        assert!(error.contains(named), "{error}");
    }

    #[test]
    fn every_example_in_the_docs_is_a_valid_configuration() {
        let page = include_str!("../../docs/identity.md");
        let examples: Vec<&str> = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!examples.is_empty(), "the page has no examples");
        for example in examples {
            let config = Config::parse(example).unwrap_or_else(|error| panic!("{error} in\n{example}"));
            assert_ne!(config, Config::default(), "{example}");
        }
    }
}
