//! Headers that the configuration adds to every request.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::attributes;

/// Headers that are the sink's own, or that describe the connection (RFC 9110, section 7.6.1) and the length of the body.
const RESERVED: [&str; 13] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
/// The prefixes of more of the sink's own.
const RESERVED_PREFIXES: [&str; 2] = [attributes::PREFIX, "webhook-"];

/// Headers that the configuration adds to every request. Their values may be credentials, so debug output does not show them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct CustomHeaders(HeaderMap);

/// Why a header cannot be added. The error never contains the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CustomHeaderError {
    /// The name is not one.
    #[error("invalid header name {0:?}")]
    Name(String),
    /// The sink sets the header itself.
    #[error("the header {0} cannot be set: it is the sink's own")]
    Reserved(HeaderName),
    /// The name stands twice, in upper and lower case.
    #[error("the header {0} is set twice; upper and lower case are the same")]
    Twice(HeaderName),
    /// The value has characters that a header cannot carry to every receiver (RFC 9110, section 5.5).
    #[error("the value of the header {0} is not printable ASCII")]
    Value(HeaderName),
}

impl CustomHeaders {
    /// The headers, with their values marked as sensitive.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.0
    }
}

impl TryFrom<BTreeMap<String, String>> for CustomHeaders {
    type Error = CustomHeaderError;

    fn try_from(headers: BTreeMap<String, String>) -> Result<Self, CustomHeaderError> {
        let mut custom = HeaderMap::new();
        for (name, value) in headers {
            let Ok(name) = HeaderName::try_from(&name) else { return Err(CustomHeaderError::Name(name)) };
            let is_own = |prefix: &&str| name.as_str().starts_with(*prefix);
            if RESERVED.contains(&name.as_str()) || RESERVED_PREFIXES.iter().any(is_own) {
                return Err(CustomHeaderError::Reserved(name));
            }
            let is_printable = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            let Some(mut value) = HeaderValue::try_from(value).ok().filter(|_| is_printable) else {
                return Err(CustomHeaderError::Value(name));
            };
            value.set_sensitive(true);
            if custom.insert(&name, value).is_some() {
                return Err(CustomHeaderError::Twice(name));
            }
        }
        Ok(Self(custom))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn custom(headers: &[(&str, &str)]) -> Result<CustomHeaders, CustomHeaderError> {
        let headers: BTreeMap<_, _> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        headers.try_into()
    }

    #[rstest]
    #[case("X-Api-Key", "s3cret")]
    #[case("authorization", "Basic dTpw")]
    #[case("traceparent", "")]
    #[case("accept", "text/plain; q=\"0.5\"")]
    fn a_header_can_be_added(#[case] name: &str, #[case] value: &str) {
        let custom = custom(&[(name, value)]).expect("valid");
        assert_eq!(custom.headers()[name], value);
        assert!(!format!("{custom:?}").contains("s3cret"));
    }

    #[rstest]
    #[case("")]
    #[case("x key")]
    #[case("x:key")]
    #[case("x\nkey")]
    #[case("schlüssel")]
    fn a_name_is_a_token(#[case] name: &str) {
        assert_eq!(custom(&[(name, "v")]), Err(CustomHeaderError::Name(name.to_owned())));
    }

    #[rstest]
    #[case("Content-Type")]
    #[case("content-length")]
    #[case("Transfer-Encoding")]
    #[case("Host")]
    #[case("user-agent")]
    #[case("Webhook-Id")]
    #[case("webhook-signature")]
    #[case("CE-Id")]
    #[case("ce-anything")]
    fn what_the_sink_sets_itself_cannot_be_set(#[case] name: &str) {
        assert!(matches!(custom(&[(name, "v")]), Err(CustomHeaderError::Reserved(_))), "{name}");
    }

    #[rstest]
    #[case("a\r\nwebhook-id: b")]
    #[case("a\tb")]
    #[case("\u{7f}")]
    #[case("a\u{85}b")]
    #[case("Zürich")]
    fn a_value_is_printable(#[case] value: &str) {
        assert!(matches!(custom(&[("x-key", value)]), Err(CustomHeaderError::Value(_))), "{value:?}");
    }

    #[test]
    fn a_name_stands_once() {
        let twice = custom(&[("X-Key", "a"), ("x-key", "b")]);
        assert_eq!(twice, Err(CustomHeaderError::Twice(HeaderName::from_static("x-key"))));
    }
}
