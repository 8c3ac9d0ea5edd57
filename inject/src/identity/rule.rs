//! A rule: one place to look for an ID, and which part of the value there is the ID.

mod parse;
mod part;
mod place;

use std::{borrow::Cow, fmt};

pub use self::{
    part::{Part, Pattern, PatternError},
    place::{Place, Subject},
};

/// The longest ID that is accepted, in bytes. An ID becomes several annotations, and the API server rejects objects with more
/// than 256 KiB of annotations.
pub const MAX_ID_BYTES: usize = 1024;

/// One place to look for an ID. In the configuration file a rule is a map with one key, such as `label: run-id` or
/// `env: {name: PAYLOAD, pointer: /job/id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    place: Place,
    part: Part,
}

/// Why a rule finds no ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// The place has no value.
    Absent,
    /// The pointer or regex does not match the value.
    NoPart,
    /// The value is empty.
    Empty,
    /// The value is longer than [`MAX_ID_BYTES`].
    TooLong,
}

impl Rule {
    /// Takes the whole value at `place`.
    pub(crate) fn whole(place: Place) -> Self {
        Self { place, part: Part::default() }
    }

    /// Takes `part` of the value at `place`.
    pub(crate) fn new(place: Place, part: Part) -> Self {
        Self { place, part }
    }

    /// The ID that the rule finds. If its place has several values, such as variables with one name in several containers,
    /// the first that contains an ID counts.
    ///
    /// # Errors
    /// Why there is no ID; with several values, the reason of the last.
    pub fn find<'a>(&self, subject: &Subject<'a>) -> Result<Cow<'a, str>, Miss> {
        let Self { place, part } = self;
        let mut miss = Miss::Absent;
        let found =
            place.visit(subject, &mut |text| match part.select(text).ok_or(Miss::NoPart).and_then(check_length) {
                Ok(id) => Some(id),
                Err(reason) => {
                    miss = reason;
                    None
                }
            });
        found.ok_or(miss)
    }
}

fn check_length(id: Cow<'_, str>) -> Result<Cow<'_, str>, Miss> {
    match id.len() {
        0 => Err(Miss::Empty),
        1..=MAX_ID_BYTES => Ok(id),
        _ => Err(Miss::TooLong),
    }
}

/// The first rule that finds an ID, and that ID. Calls `missed` for each rule before it.
pub(super) fn first_match<'r, 'a>(
    rules: &'r [Rule],
    subject: &Subject<'a>,
    mut missed: impl FnMut(&'r Rule, Miss),
) -> Option<(&'r Rule, Cow<'a, str>)> {
    rules.iter().find_map(|rule| match rule.find(subject) {
        Ok(id) => Some((rule, id)),
        Err(miss) => {
            missed(rule, miss);
            None
        }
    })
}

/// The rule in the syntax of the configuration file.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, part: Part { pointer, regex } } = self;
        let (kind, key, name, container) = place.config_syntax();
        if let (Some(name), None, None, None) = (name, container, pointer, regex) {
            return write!(f, "{kind}: {name}");
        }
        write!(f, "{kind}: {{")?;
        let pointer = pointer.as_ref().map(ToString::to_string);
        let regex = regex.as_ref().map(|pattern| format!("'{}'", pattern.as_str().replace('\'', "''")));
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
            Self::Absent => f.write_str("not found"),
            Self::NoPart => f.write_str("found, but the pointer or regex does not match"),
            Self::Empty => f.write_str("found, but empty"),
            Self::TooLong => write!(f, "found, but longer than {MAX_ID_BYTES} bytes"),
        }
    }
}

#[cfg(test)]
mod tests;
