//! One place to look for an ID, and which part of what is there.

mod place;
mod shape;

use std::{borrow::Cow, fmt};

use regex_lite::Regex;
use serde::Deserialize;

use self::shape::{Keyed, Named};
pub use self::{
    place::{Place, Subject},
    shape::RuleError,
};
use super::{MAX_ID_BYTES, pointer::Pointer};

/// One place to look for an ID. In the configuration file it is a map of one key, such as `label: run-id` or
/// `env: {name: PAYLOAD, pointer: /job/id}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Rule {
    place: Place,
    part: Part,
}

/// A rule as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Written {
    #[serde(deserialize_with = "shape::text_or_map")]
    Label(Keyed),
    #[serde(deserialize_with = "shape::text_or_map")]
    Annotation(Keyed),
    #[serde(deserialize_with = "shape::text_or_map")]
    NumberedLabels(Keyed),
    #[serde(deserialize_with = "shape::text_or_map")]
    Env(Named),
    #[serde(deserialize_with = "shape::text_or_map")]
    Arg(Named),
}

/// Which part of a text is meant. A pointer goes first: a pattern then looks at what it leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Where it is in a text that is JSON; the whole text without.
    pub pointer: Option<Pointer>,
    /// What matches, or its first group where it has one; everything without.
    pub regex: Option<Pattern>,
}

/// A regular expression. Its engine takes time linear in the text, so a foreign text cannot make it hang.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

/// Why a rule yields nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// There is nothing at its place.
    Absent,
    /// What is there does not have the part that it asks for.
    NoPart,
    /// What is there is empty.
    Empty,
    /// What is there is longer than [`MAX_ID_BYTES`].
    TooLong,
}

impl Rule {
    /// Takes all of what is at `place`.
    pub(crate) fn whole(place: Place) -> Self {
        Self { place, part: Part::default() }
    }

    /// Takes `part` of what is at `place`.
    pub(crate) fn new(place: Place, part: Part) -> Self {
        Self { place, part }
    }

    /// The ID that it finds. Where there are several texts at its place, such as the variables of one name in several
    /// containers, the first that has an ID counts.
    pub fn find<'a>(&self, subject: &Subject<'a>) -> Result<Cow<'a, str>, Miss> {
        let Self { place, part } = self;
        let mut miss = Miss::Absent;
        let found = place.visit(subject, &mut |text| match part.take(text).ok_or(Miss::NoPart).and_then(plausible) {
            Ok(id) => Some(id),
            Err(reason) => {
                miss = reason;
                None
            }
        });
        found.ok_or(miss)
    }
}

fn plausible(id: Cow<'_, str>) -> Result<Cow<'_, str>, Miss> {
    match id.len() {
        0 => Err(Miss::Empty),
        1..=MAX_ID_BYTES => Ok(id),
        _ => Err(Miss::TooLong),
    }
}

impl Part {
    fn take<'a>(&self, text: Cow<'a, str>) -> Option<Cow<'a, str>> {
        let Self { pointer, regex } = self;
        let text = match pointer {
            None => text,
            Some(pointer) => Cow::Owned(pointer.find(&text)?),
        };
        match regex {
            None => Some(text),
            Some(pattern) => pattern.take(text),
        }
    }
}

impl Pattern {
    fn take<'a>(&self, text: Cow<'a, str>) -> Option<Cow<'a, str>> {
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

impl std::str::FromStr for Pattern {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        Regex::new(text).map(Self).map_err(|source| RuleError::Regex { pattern: text.to_owned(), source })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl TryFrom<Written> for Rule {
    type Error = RuleError;

    fn try_from(written: Written) -> Result<Self, RuleError> {
        Ok(match written {
            Written::Label(keyed) => keyed.rule(Place::Label),
            Written::Annotation(keyed) => keyed.rule(Place::Annotation),
            Written::NumberedLabels(keyed) => keyed.rule(Place::NumberedLabels),
            Written::Env(named) => {
                named.rule(|name, container| Some(Place::Env { name: name?, container })).ok_or(RuleError::EnvName)?
            }
            Written::Arg(named) => {
                let lacking = named.name.is_none() && named.regex.is_none();
                if lacking {
                    return Err(RuleError::ArgName);
                }
                named.rule(|name, container| Some(Place::Arg { name, container })).ok_or(RuleError::ArgName)?
            }
        })
    }
}

/// As it may stand in the configuration file.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, part: Part { pointer, regex } } = self;
        let (kind, key, name, container) = place.written();
        if let (Some(name), None, None, None) = (name, container, pointer, regex) {
            return write!(f, "{kind}: {name}");
        }
        write!(f, "{kind}: {{")?;
        let pointer = pointer.as_ref().map(ToString::to_string);
        let regex = regex.as_ref().map(|pattern| format!("'{}'", pattern.0.as_str().replace('\'', "''")));
        let members =
            [(key, name), ("container", container), ("pointer", pointer.as_deref()), ("regex", regex.as_deref())];
        let mut separator = "";
        for (key, value) in members {
            let Some(value) = value else { continue };
            write!(f, "{separator}{key}: {value}")?;
            separator = ", ";
        }
        f.write_str("}")
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("not there"),
            Self::NoPart => f.write_str("there, but without the part that is asked for"),
            Self::Empty => f.write_str("there, but empty"),
            Self::TooLong => write!(f, "there, but longer than {MAX_ID_BYTES} bytes"),
        }
    }
}

#[cfg(test)]
mod tests;
