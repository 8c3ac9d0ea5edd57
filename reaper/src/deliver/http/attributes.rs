//! Attributes of a `CloudEvent` as HTTP headers.

use std::fmt::Write as _;

/// The prefix of the headers.
pub(super) const PREFIX: &str = "ce-";

/// The value of the header of an attribute: spaces, quotes, percent signs and everything that is not printable ASCII are percent-encoded, as
/// the `CloudEvents` HTTP protocol binding 1.0.2, section 3.1.3.2, demands.
pub(super) fn header_value(attribute: &str) -> String {
    let mut value = String::with_capacity(attribute.len());
    for byte in attribute.bytes() {
        match byte {
            b'"' | b'%' | ..=b' ' | 0x7f.. => {
                // Writing to a String cannot fail.
                let _ = write!(value, "%{byte:02X}");
            }
            _ => value.push(char::from(byte)),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/apis/batch/v1/namespaces/my-jobs/jobs/a~b", "/apis/batch/v1/namespaces/my-jobs/jobs/a~b")]
    // The example of the specification.
    #[case("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80")]
    #[case("100% \"sure\"", "100%25%20%22sure%22")]
    #[case("a\r\nwebhook-id: b\u{7f}", "a%0D%0Awebhook-id:%20b%7F")]
    #[case("", "")]
    fn what_a_header_cannot_hold_is_percent_encoded(#[case] attribute: &str, #[case] expected: &str) {
        assert_eq!(header_value(attribute), expected);
    }
}
