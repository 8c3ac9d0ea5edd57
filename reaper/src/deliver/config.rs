//! The configuration file: who is told, and how is judged.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use jobwarden_core::policy::FilePolicy;
use serde::{Deserialize, Deserializer};

/// The configuration file of the reaper.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Who is told of outcomes.
    #[serde(default)]
    pub sinks: Vec<SinkConfig>,
    /// How which Jobs are judged.
    #[serde(default)]
    pub policy: FilePolicy,
}

/// One who is told of outcomes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SinkConfig {
    /// Its name in statuses, metrics and logs.
    pub name: String,
    /// Where to post to.
    pub url: String,
    /// File with the signing secrets, `whsec_…`, one a line; unsigned without. It is read for every attempt.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// File with the CA certificates that the receiver's is checked against, PEM; the system's without.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The shape of a notification.
    #[serde(default)]
    pub format: Format,
    /// How long one attempt may take.
    #[serde(default = "ten_seconds", deserialize_with = "duration")]
    pub timeout: Duration,
    /// After how long an outcome that the receiver never took is given up.
    #[serde(default = "a_day", deserialize_with = "duration")]
    pub give_up_after: Duration,
}

/// The shape of a notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `CloudEvents` 1.0, structured JSON.
    #[default]
    #[serde(rename = "cloudevents")]
    CloudEvents,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not YAML of the right shape.
    #[error("cannot make sense of the configuration file {}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, and where.
        source: Box<serde_saphyr::Error>,
    },
    /// A sink's name does not serve as one.
    #[error("sink name {0:?}: give 1 to 63 of a-z, 0-9 and -, different for each sink")]
    Name(String),
    /// A sink's URL is none that can be posted to.
    #[error("sink {0}: give a url that begins with http:// or https://")]
    Url(String),
    /// A sink's CA file cannot be used.
    #[error("sink {sink}: cannot use the CA file {}", path.display())]
    Ca {
        /// Which sink.
        sink: String,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No client could be made for a sink.
    #[error("sink {sink}: cannot set up HTTPS; where the system has no CA certificates, give a caFile")]
    Client {
        /// Which sink.
        sink: String,
        /// Why.
        source: reqwest::Error,
    },
}

impl Config {
    /// Checks what the file at `path` says.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        // An empty file is no document at all.
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
            give_up_after: Duration::from_hours(24),
        };
        assert_eq!(config.sinks, [expected]);
    }

    #[test]
    fn everything_about_a_sink_can_be_said() {
        let text = "sinks: [{name: a, url: 'https://a', secretFile: /s, caFile: /c, format: cloudevents, timeout: 3s, giveUpAfter: 2h}]";
        let sink = parse(text).expect("valid").sinks.remove(0);
        assert_eq!((sink.timeout, sink.give_up_after), (Duration::from_secs(3), Duration::from_hours(2)));
        assert_eq!((sink.secret_file, sink.ca_file), (Some("/s".into()), Some("/c".into())));
    }

    #[rstest]
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
    fn what_cannot_be_used_is_refused(#[case] text: &str, #[case] accepted: bool) {
        assert_eq!(parse(text).is_ok(), accepted, "{text}");
    }
}
