//! How rules are written: the name alone, or a map that says more.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{Part, Pattern, Place, Rule};
use crate::identity::pointer::Pointer;

/// Why a rule is none.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The pattern is no regular expression.
    #[error("the regex {pattern:?} is not understood: {source}")]
    Regex {
        /// As it was written.
        pattern: String,
        /// What is wrong with it.
        source: regex_lite::Error,
    },
    /// Which variable?
    #[error("an env rule needs the variable's name, as in env: {{name: PAYLOAD}}")]
    EnvName,
    /// Every argument of every container would be an ID.
    #[error("an arg rule needs a name or a regex, as in arg: --job-id or arg: {{regex: 'job=(\\d+)'}}")]
    ArgName,
}

/// Something with a key of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keyed {
    key: String,
    pointer: Option<Pointer>,
    regex: Option<Pattern>,
}

/// Something that a container has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    pub(super) name: Option<String>,
    container: Option<String>,
    pointer: Option<Pointer>,
    pub(super) regex: Option<Pattern>,
}

impl Keyed {
    pub(super) fn rule(self, place: impl FnOnce(String) -> Place) -> Rule {
        let Self { key, pointer, regex } = self;
        Rule::new(place(key), Part { pointer, regex })
    }
}

impl Named {
    pub(super) fn rule(self, place: impl FnOnce(Option<String>, Option<String>) -> Option<Place>) -> Option<Rule> {
        let Self { name, container, pointer, regex } = self;
        Some(Rule::new(place(name, container)?, Part { pointer, regex }))
    }
}

impl From<String> for Keyed {
    fn from(key: String) -> Self {
        Self { key, pointer: None, regex: None }
    }
}

impl From<String> for Named {
    fn from(name: String) -> Self {
        Self { name: Some(name), container: None, pointer: None, regex: None }
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Reads a text, or a map that says the same and more. An untagged enum would do so too, but could not say what is wrong.
pub(super) fn text_or_map<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + From<String>,
    D: Deserializer<'de>,
{
    struct TextOrMap<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de> + From<String>> Visitor<'de> for TextOrMap<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a name, or a map with the name and more")
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
