//! The part `logs` of the reaper's configuration file.

use serde::Deserialize;

use super::{excerpt::LogLimits, pattern::PatternError, redact::Redactor};

/// The most lines that may be configured.
const MAX_LINES: usize = 200;
/// The most bytes that may be configured: a quarter of a notification.
const MAX_BYTES: usize = jobwarden_common::notification::MAX_BYTES / 4;
/// The most patterns that may be configured: each is applied to every line.
const MAX_PATTERNS: usize = 32;

/// How many log lines notifications have, and what is removed from them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LogSettings {
    /// The most lines; 0 for none.
    pub lines: usize,
    /// The most bytes of all lines together.
    pub bytes: usize,
    /// Regular expressions of what is removed: the group `secret` of a match, or the whole match.
    pub redact: Vec<String>,
    /// Whether the built-in patterns apply as well.
    pub redact_defaults: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { lines: 20, bytes: 4096, redact: Vec::new(), redact_defaults: true }
    }
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct LogRules {
    /// How much is kept.
    pub limits: LogLimits,
    /// What is removed.
    pub redactor: Redactor,
}

/// Why settings are not valid.
#[derive(Debug, thiserror::Error)]
pub enum LogSettingsError {
    /// A figure is too large.
    #[error("logs.{field} is {given}, and at most {most}")]
    TooMany {
        /// The name of the setting.
        field: &'static str,
        /// What was set.
        given: usize,
        /// The bound.
        most: usize,
    },
    /// A pattern is not valid.
    #[error("logs.redact: pattern number {number} is not valid")]
    Pattern {
        /// Its place in the list, from 1. The pattern itself may hold what is secret.
        number: usize,
        /// What is wrong with it.
        source: PatternError,
    },
}

impl LogSettings {
    /// The rules; `None` if no lines are to be read.
    pub fn rules(&self) -> Result<Option<LogRules>, LogSettingsError> {
        let Self { lines, bytes, redact, redact_defaults } = self;
        let figures =
            [("lines", *lines, MAX_LINES), ("bytes", *bytes, MAX_BYTES), ("redact", redact.len(), MAX_PATTERNS)];
        if let Some((field, given, most)) = figures.into_iter().find(|(_, given, most)| given > most) {
            return Err(LogSettingsError::TooMany { field, given, most });
        }
        let redactor = Redactor::new(redact, *redact_defaults)
            .map_err(|(number, source)| LogSettingsError::Pattern { number, source })?;
        let limits = LogLimits { lines: *lines, bytes: *bytes };
        Ok((*lines > 0 && *bytes > 0).then_some(LogRules { limits, redactor }))
    }
}
