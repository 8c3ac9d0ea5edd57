//! Which part of a text is the ID.

use std::{borrow::Cow, str::FromStr};

use regex_lite::{Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, de};

use crate::identity::pointer::Pointer;

/// Which part of a text is the ID. The pointer is applied first, then the regex to the value that it finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Selects a value in a text that is JSON; without a pointer, the whole text.
    pub pointer: Option<Pointer>,
    /// Selects the first capture group, or the whole match if there is none; without a regex, everything.
    pub regex: Option<Pattern>,
}

/// The largest regular expression when it is compiled, in bytes: about a thousand states. The engine may visit each of them at each character of
/// a text, and a few characters such as `(.{500}){500}` make a quarter of a million.
const MAX_COMPILED: usize = 32 * 1024;

/// A regular expression. Its engine takes time linear in the text, so an untrusted text cannot stall admission.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

/// A text that is not a valid regular expression.
#[derive(Debug, thiserror::Error)]
#[error("invalid regex {pattern:?}: {source}")]
pub struct PatternError {
    pattern: String,
    source: regex_lite::Error,
}

impl Part {
    /// The selected part of `text`; `None` if the pointer or the regex does not match.
    pub(super) fn select<'a>(&self, text: Cow<'a, str>) -> Option<Cow<'a, str>> {
        let Self { pointer, regex } = self;
        let text = match pointer {
            None => text,
            Some(pointer) => Cow::Owned(pointer.find(&text)?),
        };
        match regex {
            None => Some(text),
            Some(pattern) => pattern.select(text),
        }
    }
}

impl Pattern {
    /// The regular expression as it was written.
    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    fn select<'a>(&self, text: Cow<'a, str>) -> Option<Cow<'a, str>> {
        let range = {
            let captures = self.0.captures(&text)?;
            // A group that took no part in the match yields nothing, rather than something else.
            let group = if captures.len() > 1 { captures.get(1) } else { captures.get(0) };
            group?.range()
        };
        Some(match text {
            Cow::Borrowed(text) => Cow::Borrowed(&text[range]),
            Cow::Owned(text) => Cow::Owned(text[range].to_owned()),
        })
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        RegexBuilder::new(text)
            .size_limit(MAX_COMPILED)
            .build()
            .map(Self)
            .map_err(|source| PatternError { pattern: text.to_owned(), source })
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}
