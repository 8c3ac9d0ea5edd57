//! Values of variables, and what is said where one cannot be read.

use std::time::Duration;

/// The longest time that a variable sets, a year: what is beyond is a unit taken for another.
const LONGEST: Duration = Duration::from_hours(24 * 366);

/// Why a variable cannot be translated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// Its value is not one of those that it may have.
    #[error("environment variable {name}={value:?}: expected {expected}")]
    Value {
        /// The name.
        name: String,
        /// The value. Never that of a secret.
        value: String,
        /// What is expected instead.
        expected: String,
    },
    /// Another variable is needed.
    #[error("environment variable {name} is not set: {why}")]
    Missing {
        /// The name.
        name: &'static str,
        /// What needs it.
        why: String,
    },
    /// Nothing would follow the Jobs.
    #[error(
        "environment variables MONITOR_WATCHING_ENABLED and MONITOR_REAPER_ENABLED are both false: expected one of them to be true, because Jobs are followed by a watch or by periodic lists"
    )]
    NothingFollows,
}

/// The error of a value.
pub(super) fn unexpected(name: &str, value: &str, expected: impl Into<String>) -> VariableError {
    VariableError::Value { name: name.to_owned(), value: value.to_owned(), expected: expected.into() }
}

/// A time in whole seconds.
pub(super) fn seconds(name: &str, value: &str) -> Result<Duration, VariableError> {
    number(name, value, 1, "seconds, such as 600")
}

/// A time in whole minutes.
pub(super) fn minutes(name: &str, value: &str) -> Result<Duration, VariableError> {
    number(name, value, 60, "minutes, such as 120")
}

fn number(name: &str, value: &str, unit: u64, words: &str) -> Result<Duration, VariableError> {
    let parsed = value.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).map(Duration::from_secs);
    parsed.filter(|time| !time.is_zero() && *time <= LONGEST).ok_or_else(|| {
        let most = LONGEST.as_secs() / unit;
        unexpected(name, value, format!("a whole number from 1 to {most} of {words}"))
    })
}

/// A truth value, as the configuration library of the job monitor reads it (HOCON: `true`, `yes`, `on` and their opposites).
pub(super) fn flag(name: &str, value: &str) -> Result<bool, VariableError> {
    match value {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => Err(unexpected(name, value, "true or false")),
    }
}
