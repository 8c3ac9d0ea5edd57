//! Durations in the configuration file.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Reads a duration such as `90s` or `1h30m`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
}
