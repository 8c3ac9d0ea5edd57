//! A path to one value inside a JSON text: a JSON pointer (RFC 6901) with one extension.
//!
//! A segment that begins with `*` matches the one key of an object that ends with the rest of the segment: `/*JobId`
//! finds the 7 in `{"analyzerJobId":7}`. If several keys match, it finds nothing: a guess would be worse.

use std::{fmt, str::FromStr};

use serde::Deserialize;
use serde_json::Value;

/// A JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pointer(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Suffix(String),
}

/// Why a text is not a valid pointer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// The text does not begin with a slash.
    #[error("the JSON pointer {0:?} must begin with a slash, as in /job/id")]
    NoSlash(String),
    /// A tilde is not part of an escape.
    #[error("invalid escape in the JSON pointer {0:?}: write ~ as ~0, and / inside a key as ~1 (RFC 6901)")]
    Escape(String),
}

impl Pointer {
    /// The value at this path in `json`, as text: a string unquoted, a number or boolean as JSON writes it. `None` if there is
    /// no such value, if it is an object, array or null, or if `json` is not valid JSON.
    pub fn find(&self, json: &str) -> Option<String> {
        let root: Value = serde_json::from_str(json).ok()?;
        let value = self.0.iter().try_fold(&root, |value, segment| segment.step(value))?;
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

impl Segment {
    fn parse(segment: &str) -> Option<Self> {
        match segment.strip_prefix('*') {
            Some(suffix) => unescape(suffix).map(Self::Suffix),
            None => unescape(segment).map(Self::Key),
        }
    }

    fn step<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        match (self, value) {
            (Self::Key(key), Value::Object(object)) => object.get(key),
            (Self::Key(key), Value::Array(array)) => array.get(array_index(key)?),
            (Self::Suffix(suffix), Value::Object(object)) => {
                let mut matches = object.iter().filter(|(key, _)| key.ends_with(suffix));
                let (_, value) = matches.next()?;
                matches.next().is_none().then_some(value)
            }
            _ => None,
        }
    }
}

/// The index that a segment names in an array: digits without a zero before them (RFC 6901, section 4).
fn array_index(key: &str) -> Option<usize> {
    let is_index = key == "0" || (!key.starts_with('0') && key.bytes().all(|byte| byte.is_ascii_digit()));
    is_index.then(|| key.parse().ok())?
}

/// Resolves the escapes of RFC 6901; `None` if a tilde is not part of one.
fn unescape(segment: &str) -> Option<String> {
    let mut parts = segment.split('~');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.as_bytes().first()? {
            b'0' => plain.push('~'),
            b'1' => plain.push('/'),
            _ => return None,
        }
        plain.push_str(&part[1..]);
    }
    Some(plain)
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let path = text.strip_prefix('/').ok_or_else(|| PointerError::NoSlash(text.to_owned()))?;
        let segments = path.split('/').map(Segment::parse).collect::<Option<_>>();
        segments.map(Self).ok_or_else(|| PointerError::Escape(text.to_owned()))
    }
}

impl TryFrom<String> for Pointer {
    type Error = PointerError;

    fn try_from(text: String) -> Result<Self, PointerError> {
        text.parse()
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.0 {
            let (star, text) = match segment {
                Segment::Key(key) => ("", key),
                Segment::Suffix(suffix) => ("*", suffix),
            };
            write!(f, "/{star}{}", text.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/analyzerJobId", r#"{"analyzerJobId":7}"#, Some("7"))]
    #[case("/*JobId", r#"{"analyzerJobId":7,"runId":3}"#, Some("7"))]
    #[case("/job/*Id", r#"{"job":{"anId":"a b"}}"#, Some("a b"))]
    #[case("/1/id", r#"[{"id":1},{"id":true}]"#, Some("true"))]
    #[case("/a~1b~0c", r#"{"a/b~c":1.5}"#, Some("1.5"))]
    #[case("", "7", Some("7"))]
    #[case("/0", "[7]", Some("7"))]
    #[case::no_index("/01", "[7,8]", None)]
    #[case::no_index_either("/+1", "[7,8]", None)]
    #[case::too_large("/99999999999999999999", "[7,8]", None)]
    #[case::ambiguous("/*JobId", r#"{"analyzerJobId":7,"scannerJobId":8}"#, None)]
    #[case::absent("/id", "{}", None)]
    #[case::not_a_scalar("/id", r#"{"id":{}}"#, None)]
    #[case::null("/id", r#"{"id":null}"#, None)]
    #[case::not_json("/id", "id=7", None)]
    fn a_pointer_finds_a_scalar(#[case] pointer: Pointer, #[case] json: &str, #[case] expected: Option<&str>) {
        assert_eq!(pointer.find(json).as_deref(), expected);
    }

    #[rstest]
    #[case("id", PointerError::NoSlash("id".to_owned()))]
    #[case("/a~2", PointerError::Escape("/a~2".to_owned()))]
    #[case("/a~", PointerError::Escape("/a~".to_owned()))]
    #[case("/~é", PointerError::Escape("/~é".to_owned()))]
    fn an_invalid_pointer_is_rejected(#[case] text: &str, #[case] error: PointerError) {
        assert_eq!(text.parse::<Pointer>(), Err(error));
    }

    proptest! {
        #[test]
        fn a_pointer_is_displayed_as_it_was_written(text in "(/\\*?([a-zé]|~0|~1){0,4}){0,4}") {
            let pointer: Pointer = text.parse().expect("the grammar generates valid pointers");
            prop_assert_eq!(pointer.to_string(), text);
        }

        #[test]
        fn no_pointer_and_no_document_cause_a_panic(text in ".*", json in ".*") {
            if let Ok(pointer) = text.parse::<Pointer>() {
                let _ = pointer.find(&json);
            }
        }
    }
}
