//! Reads rules from the configuration file, where a rule is a name alone or a map with options.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{
    Rule,
    part::{Part, Pattern},
    place::Place,
};
use crate::identity::pointer::Pointer;

/// Why a rule is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum RuleError {
    /// An `env` rule does not name a variable.
    #[error("an env rule needs the variable's name, as in env: {{name: PAYLOAD}}")]
    EnvName,
    /// An `arg` rule has neither name nor regex, so every argument of every container would be an ID.
    #[error("an arg rule needs a name or a regex, as in arg: --job-id or arg: {{regex: 'job=(\\d+)'}}")]
    ArgName,
}

/// A rule as it is written in the configuration file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum RuleConfig {
    #[serde(deserialize_with = "text_or_map")]
    Label(KeyConfig),
    #[serde(deserialize_with = "text_or_map")]
    Annotation(KeyConfig),
    #[serde(deserialize_with = "text_or_map")]
    NumberedLabels(KeyConfig),
    #[serde(deserialize_with = "text_or_map")]
    Env(ContainerConfig),
    #[serde(deserialize_with = "text_or_map")]
    Arg(ContainerConfig),
}

/// The options of a rule for labels or annotations.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyConfig {
    key: String,
    pointer: Option<Pointer>,
    regex: Option<Pattern>,
}

/// The options of a rule for variables or arguments of containers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainerConfig {
    name: Option<String>,
    container: Option<String>,
    pointer: Option<Pointer>,
    regex: Option<Pattern>,
}

impl KeyConfig {
    fn into_rule(self, place: impl FnOnce(String) -> Place) -> Rule {
        let Self { key, pointer, regex } = self;
        Rule::new(place(key), Part { pointer, regex })
    }
}

impl From<String> for KeyConfig {
    fn from(key: String) -> Self {
        Self { key, pointer: None, regex: None }
    }
}

impl From<String> for ContainerConfig {
    fn from(name: String) -> Self {
        Self { name: Some(name), container: None, pointer: None, regex: None }
    }
}

impl TryFrom<RuleConfig> for Rule {
    type Error = RuleError;

    fn try_from(config: RuleConfig) -> Result<Self, RuleError> {
        Ok(match config {
            RuleConfig::Label(config) => config.into_rule(Place::Label),
            RuleConfig::Annotation(config) => config.into_rule(Place::Annotation),
            RuleConfig::NumberedLabels(config) => config.into_rule(Place::NumberedLabels),
            RuleConfig::Env(ContainerConfig { name, container, pointer, regex }) => {
                let name = name.ok_or(RuleError::EnvName)?;
                Rule::new(Place::Env { name, container }, Part { pointer, regex })
            }
            RuleConfig::Arg(ContainerConfig { name: None, regex: None, .. }) => return Err(RuleError::ArgName),
            RuleConfig::Arg(ContainerConfig { name, container, pointer, regex }) => {
                Rule::new(Place::Arg { name, container }, Part { pointer, regex })
            }
        })
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RuleConfig::deserialize(deserializer)?.try_into().map_err(de::Error::custom)
    }
}

/// Reads a text, or a map with the same content and options. An untagged enum would accept the same input, but its errors do not
/// say what is wrong.
fn text_or_map<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + From<String>,
    D: Deserializer<'de>,
{
    struct TextOrMap<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de> + From<String>> Visitor<'de> for TextOrMap<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a name, or a map with a name and options")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            Ok(T::from(text.to_owned()))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_any(TextOrMap(PhantomData))
}
