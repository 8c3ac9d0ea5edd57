//! Requests and limits.

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::value::RawValue;

use super::json::{Pairs, Text};

/// Requests and limits.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Requirements<'a> {
    /// What is reserved.
    #[serde(borrow)]
    pub requests: Option<Pairs<'a, Amount<'a>>>,
    /// What may be used.
    #[serde(borrow)]
    pub limits: Option<Pairs<'a, Amount<'a>>>,
}

/// A quantity as it is written: a string, or in YAML a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amount<'a>(Text<'a>);

impl Amount<'_> {
    /// The text of the quantity.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Amount<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw: &'de RawValue = Deserialize::deserialize(deserializer)?;
        let text = if raw.get().starts_with('"') {
            serde_json::from_str(raw.get()).map_err(D::Error::custom)?
        } else {
            Text::from(raw.get())
        };
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_strings_or_numbers() {
        let text = r#"{"limits": {"cpu": 2, "memory": "1Gi", "ephemeral-storage": 1.5, "gone": null}}"#;
        let limits = serde_json::from_str::<Requirements<'_>>(text).expect("requirements").limits.expect("limits");
        let read = |key| limits.value(key).map(Amount::as_str);
        let keys = ["cpu", "memory", "ephemeral-storage", "gone", "never"];
        assert_eq!(keys.map(read), [Some("2"), Some("1Gi"), Some("1.5"), Some(""), None]);
    }
}
