//! The reaper's configuration file: sinks, policy and breaker.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use jobwarden_core::{
    guard::HOLD_FOR,
    index::JobLimits,
    outcome::OutcomeLimits,
    policy::{FilePolicy, PolicyLimits},
};
use serde::{Deserialize, Deserializer};

/// The configuration file of the reaper.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
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

/// A receiver of notifications.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SinkConfig {
    /// The name in statuses, metrics and logs.
    pub name: String,
    /// The URL of the receiver.
    pub url: String,
    /// A file with the signing secrets `whsec_…`, one per line, read for every attempt. Without it notifications are unsigned.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// A PEM file with the CA certificates that the receiver's certificate is verified with. Default: the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The format of notifications.
    #[serde(default)]
    pub format: Format,
    /// The timeout of one attempt.
    #[serde(default = "ten_seconds", deserialize_with = "duration")]
    pub timeout: Duration,
    /// The age of an outcome at which a delivery that was not acknowledged expires.
    #[serde(rename = "giveUpAfter", default = "a_day", deserialize_with = "duration")]
    pub expire_after: Duration,
}

/// The format of notifications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `CloudEvents` 1.0, structured JSON.
    #[default]
    #[serde(rename = "cloudevents")]
    CloudEvents,
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
    /// The name of a sink is not valid or not unique.
    #[error("invalid or duplicate sink name {0:?}: use 1 to 63 characters of a-z, 0-9 and -, unique per sink")]
    Name(String),
    /// The URL of a sink is not an HTTP URL.
    #[error("sink {0}: invalid url; it must start with http:// or https://")]
    Url(String),
    /// The CA file of a sink is not valid.
    #[error("sink {sink}: cannot load the CA file {}", path.display())]
    Ca {
        /// The name of the sink.
        sink: String,
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The HTTP client of a sink cannot be created.
    #[error("sink {sink}: cannot set up the HTTPS client; set caFile if the system has no CA certificates")]
    Client {
        /// The name of the sink.
        sink: String,
        /// The cause.
        source: reqwest::Error,
    },
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
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let mut names = BTreeSet::new();
        for sink in &self.sinks {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            let valid = !sink.name.is_empty() && sink.name.len() <= 63 && sink.name.bytes().all(plain);
            if !valid || !names.insert(&sink.name) {
                return Err(ConfigError::Name(sink.name.clone()));
            }
            let url = reqwest::Url::parse(&sink.url).ok();
            if url.is_none_or(|url| !matches!(url.scheme(), "http" | "https") || url.host_str().is_none()) {
                return Err(ConfigError::Url(sink.name.clone()));
            }
        }
        Ok(())
    }
}

fn hold_for() -> Duration {
    HOLD_FOR
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn a_day() -> Duration {
    Duration::from_hours(24)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let config: Config = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn a_sink_needs_a_name_and_a_url_only() {
        let config = parse("sinks:\n  - name: ort\n    url: http://ort.example/hooks\n").expect("valid");
        let expected = SinkConfig {
            name: "ort".to_owned(),
            url: "http://ort.example/hooks".to_owned(),
            secret_file: None,
            ca_file: None,
            format: Format::CloudEvents,
            timeout: Duration::from_secs(10),
            expire_after: Duration::from_hours(24),
        };
        assert_eq!(config.sinks, [expected]);
    }

    #[test]
    fn every_field_of_a_sink_can_be_set() {
        let text = "sinks: [{name: a, url: 'https://a', secretFile: /s, caFile: /c, format: cloudevents, timeout: 3s, giveUpAfter: 2h}]";
        let sink = parse(text).expect("valid").sinks.remove(0);
        assert_eq!((sink.timeout, sink.expire_after), (Duration::from_secs(3), Duration::from_hours(2)));
        assert_eq!((sink.secret_file, sink.ca_file), (Some("/s".into()), Some("/c".into())));
    }

    #[rstest]
    #[case("{}", 15)]
    #[case("breaker: {}", 15)]
    #[case("breaker: {holdFor: 5m}", 5)]
    fn the_breaker_holds_for_a_quarter_of_an_hour_unless_told_otherwise(#[case] text: &str, #[case] minutes: u64) {
        assert_eq!(parse(text).expect("valid").breaker.hold_for, Duration::from_mins(minutes));
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
    #[case("policy: {set: {lostAfter: soon}}", false)]
    #[case("{}", true)]
    #[case("sinks: [{name: a, url: 'http://a', colour: red}]", false)]
    #[case("sinks: [{name: a, url: 'http://a', timeout: soon}]", false)]
    #[case("sinks: [{name: a, url: 'http://a', format: smoke}]", false)]
    #[case("sinks: [{name: a, url: 'ftp://a'}]", false)]
    #[case("sinks: [{name: a, url: nowhere}]", false)]
    #[case("sinks: [{name: A/b, url: 'http://a'}]", false)]
    #[case("sinks: [{name: '', url: 'http://a'}]", false)]
    #[case("sinks: [{name: a, url: 'http://a'}, {name: a, url: 'http://b'}]", false)]
    fn an_invalid_configuration_is_rejected(#[case] text: &str, #[case] accepted: bool) {
        assert_eq!(parse(text).is_ok(), accepted, "{text}");
    }
}
