//! A pattern of what is removed from log lines.

use std::ops::Range;

use regex::{Regex, RegexBuilder};

/// The group of a pattern that is removed, if it has one of this name.
const SECRET: &str = "secret";

/// The longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1024;

/// The most memory that a compiled pattern may take, in bytes.
const MAX_COMPILED_BYTES: usize = 1024 * 1024;

/// The most parts of one line that are removed one by one; with more, the rest of the line is removed. That bounds the time of a search.
const MAX_FOUND: usize = 32;

/// Why a pattern is not valid.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// It is too long.
    #[error("it has {0} bytes, and at most {MAX_PATTERN_BYTES}")]
    TooLong(usize),
    /// It is no regular expression, or takes too much memory.
    #[error("it is no regular expression of bounded size")]
    Syntax(#[source] Box<regex::Error>),
    /// It would match between all characters.
    #[error("it matches the empty text")]
    Empty,
}

/// A pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong(text.len()));
        }
        let regex = RegexBuilder::new(text).size_limit(MAX_COMPILED_BYTES).build();
        let regex = regex.map_err(|error| PatternError::Syntax(Box::new(error)))?;
        if regex.is_match("") { Err(PatternError::Empty) } else { Ok(Self(regex)) }
    }

    /// Where what is to be removed stands in `line`. What was taken for a value may hold another name with its value, so the search goes
    /// on where the value begins.
    pub(super) fn secrets(&self, line: &str) -> Vec<Range<usize>> {
        let (mut found, mut from) = (Vec::new(), 0);
        while let Some(captures) = self.0.captures_at(line, from) {
            let whole = captures.get_match();
            let secret = captures.name(SECRET).unwrap_or(whole);
            if found.len() == MAX_FOUND {
                found.push(from..line.len());
                break;
            }
            found.push(secret.range());
            // Beyond `from` in any case, also after an empty match.
            let next = if secret.start() > whole.start() { secret.start() } else { whole.end() };
            from = if next > from { next } else { line.ceil_char_boundary(from + 1) };
            if from >= line.len() {
                break;
            }
        }
        found
    }
}
