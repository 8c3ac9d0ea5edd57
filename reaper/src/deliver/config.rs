//! The reaper's configuration file: sinks, policy, breaker and limits.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use jobwarden_core::{
    guard::HOLD_FOR,
    index::JobLimits,
    logs::{LogRules, LogSettings, LogSettingsError},
    outcome::OutcomeLimits,
    policy::{FilePolicy, PolicyLimits},
};
use serde::Deserialize;

use super::{
    duration::duration,
    sink_config::{self, SinkConfig, SinkError},
};

/// The configuration file of the reaper.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The receivers of notifications.
    #[serde(default)]
    pub sinks: Vec<SinkConfig>,
    /// The policies of Jobs.
    #[serde(default)]
    pub policy: FilePolicy,
    /// The breaker.
    #[serde(default)]
    pub breaker: BreakerConfig,
    /// What tenants may set and use.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// The last log lines in notifications; without it there are none.
    #[serde(default)]
    pub logs: Option<LogSettings>,
}

/// What tenants may set and use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitsConfig {
    /// The least and most that annotations may set of each policy value.
    #[serde(default)]
    pub policy: PolicyLimits,
    /// How many Jobs of one namespace are followed.
    #[serde(default)]
    pub jobs: JobLimits,
    /// How many outcomes of one namespace are recorded in an hour.
    #[serde(default)]
    pub outcomes: OutcomeLimits,
}

/// The breaker, which holds losses while many nodes fall silent together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BreakerConfig {
    /// After how long what it holds is released, one node a minute, while at least one node that carries workers reports.
    #[serde(default = "hold_for", deserialize_with = "duration")]
    pub hold_for: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { hold_for: HOLD_FOR }
    }
}

/// Why the configuration is not valid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not valid YAML, or does not have the expected shape.
    #[error("cannot parse the configuration file {}", path.display())]
    Parse {
        /// The path.
        path: PathBuf,
        /// What is wrong, and where.
        source: Box<serde_saphyr::Error>,
    },
    /// A sink is not valid.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The part about logs is not valid.
    #[error(transparent)]
    Logs(#[from] LogSettingsError),
}

impl Config {
    /// Parses and checks `text`, the content of the file at `path`.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not valid YAML or a sink is not valid.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        // An empty file has no YAML document.
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let config: Self = serde_saphyr::from_str(text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        sink_config::check(&config.sinks)?;
        config.logs.as_ref().map(LogSettings::rules).transpose()?;
        Ok(config)
    }

    /// What of a log an outcome has; `None` for nothing.
    pub fn log_rules(&self) -> Option<LogRules> {
        // `parse` has found that they are valid.
        self.logs.as_ref().and_then(|logs| logs.rules().ok().flatten())
    }
}

fn hold_for() -> Duration {
    HOLD_FOR
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("reaper.yaml")).map_err(|error| jobwarden_serve::logs::with_causes(&error))
    }

    #[rstest]
    #[case("{}", 15)]
    #[case("breaker: {}", 15)]
    #[case("breaker: {holdFor: 5m}", 5)]
    fn the_breaker_holds_for_a_quarter_of_an_hour_unless_told_otherwise(#[case] text: &str, #[case] minutes: u64) {
        assert_eq!(parse(text).expect("valid").breaker.hold_for, Duration::from_mins(minutes));
    }

    #[rstest]
    #[case("{}", false)]
    #[case("logs: {lines: 0}", false)]
    #[case("logs: {}", true)]
    fn logs_are_read_only_if_the_configuration_says_so(#[case] text: &str, #[case] reads: bool) {
        assert_eq!(parse(text).expect("valid").log_rules().is_some(), reads);
    }

    #[rstest]
    #[case("breaker: {holdFor: long}", false)]
    #[case("breaker: {nodes: 3}", false)]
    #[case(
        "limits: {policy: {lostAfter: {least: 20s, most: 10m}}, outcomes: {perHour: 100, namespaces: {big: 5000}}}",
        true
    )]
    #[case("limits: {policy: {lostAfter: {most: soon}}}", false)]
    #[case("limits: {outcomes: {perHour: 0}}", false)]
    #[case("limits: {memory: 1Gi}", false)]
    #[case("sinks: []", true)]
    #[case("policy: {preset: ort-server, set: {lostAfter: 90s}, rules: [{match: {a: b}, set: {onLost: fail}}]}", true)]
    #[case("policy: {set: {lostAfter: soon, includeLogs: false}}", false)]
    #[case("logs: {lines: 10, bytes: 2048, redact: ['ticket \\d+'], redactDefaults: false}", true)]
    #[case("logs: {redact: ['(']}", false)]
    #[case("logs: {lines: 1000}", false)]
    #[case("{}", true)]
    fn an_invalid_configuration_is_rejected(#[case] text: &str, #[case] accepted: bool) {
        assert_eq!(parse(text).is_ok(), accepted, "{text}");
    }
}
