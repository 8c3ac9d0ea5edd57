//! Parts of JSON: strings, maps, and values that are parsed only when needed.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A string of the request. It allocates only if the JSON string contains escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<Text<'a>> for Cow<'a, str> {
    fn from(text: Text<'a>) -> Self {
        text.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A map with strings as keys. Objects have few entries and admission looks up few, so a list is faster than a map.
#[derive(Clone, Debug)]
pub struct Pairs<'a, V>(Vec<(Text<'a>, V)>);

/// Labels, annotations, or a node selector.
pub type Entries<'a> = Pairs<'a, Text<'a>>;

impl<V> Default for Pairs<'_, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> Pairs<'_, V> {
    /// The value of `key` as it was read. If a key occurs twice, the last value counts, as for the API server.
    pub fn value(&self, key: &str) -> Option<&V> {
        let mut entries = self.0.iter().rev();
        entries.find(|(its_key, _)| its_key == key).map(|(_, value)| value)
    }
}

impl Entries<'_> {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.value(key).map(|value| &**value)
    }

    /// All keys with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl<'de: 'a, 'a, V: Deserialize<'de> + Default> Deserialize<'de> for Pairs<'a, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<V>(PhantomData<fn() -> V>);

        impl<'de, V: Deserialize<'de> + Default> Visitor<'de> for List<V> {
            type Value = Vec<(Text<'de>, V)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(8);
                // The API server reads a null value as an empty string.
                while let Some((key, value)) = map.next_entry::<Text<'de>, Option<V>>()? {
                    entries.push((key, value.unwrap_or_default()));
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_map(List(PhantomData)).map(Self)
    }
}

/// A value that is parsed only when a rule needs it. Until then it is raw JSON.
#[derive(Clone, Debug)]
pub struct Lazy<'a, T> {
    text: &'a RawValue,
    of: PhantomData<fn() -> T>,
}

impl<'a, T: Deserialize<'a>> Lazy<'a, T> {
    /// Parses the value. `None` if it has another type, which the API server rejects as well.
    pub fn parse(&self) -> Option<T> {
        serde_json::from_str(self.text.get()).ok()
    }
}

impl<T> Lazy<'_, T> {
    /// Whether the raw JSON contains `text`: a cheap test before [`Lazy::parse`]. The API server escapes no letter of a key.
    pub fn mentions(&self, text: &str) -> bool {
        self.text.get().contains(text)
    }
}

impl<'de: 'a, 'a, T> Deserialize<'de> for Lazy<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { text: Deserialize::deserialize(deserializer)?, of: PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_duplicate_key_counts() {
        let labels: Entries<'_> = serde_json::from_str(r#"{"a": "1", "b": "2", "a": "3"}"#).expect("a map of strings");
        assert_eq!([labels.get("a"), labels.get("b"), labels.get("c")], [Some("3"), Some("2"), None]);
    }

    #[test]
    fn a_null_value_is_an_empty_string() {
        let labels: Entries<'_> = serde_json::from_str(r#"{"a": null}"#).expect("a map of strings");
        assert_eq!(labels.get("a"), Some(""));
    }
}
