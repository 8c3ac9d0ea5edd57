//! The name of an outcome on the command line.

use std::{fmt, str::FromStr};

use jobwarden_common::names::GROUP;

/// The name of an outcome, with or without the type that `-o name` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OutcomeName(String);

impl OutcomeName {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OutcomeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name with its type, as `kubectl get -o name` prints it.
pub(super) fn typed(name: &str) -> String {
    format!("joboutcome.{GROUP}/{name}")
}

impl FromStr for OutcomeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_prefix(&typed("")).unwrap_or(text);
        // A DNS name (RFC 1123). Other characters must not get into the path of a request.
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        if !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed) {
            return Ok(Self(name.to_owned()));
        }
        Err("expected the name of an outcome, as 'jobwarden outcomes list' prints it".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("5d0c2f9e.final", Some("5d0c2f9e.final"))]
    #[case("joboutcome.jobwarden.io/5d0c2f9e.final", Some("5d0c2f9e.final"))]
    #[case("ort/analyzer-7", None)]
    #[case("../secrets", None)]
    #[case("a?b", None)]
    #[case("", None)]
    fn a_name_may_have_its_type_and_nothing_else(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(text.parse::<OutcomeName>().ok().as_ref().map(OutcomeName::as_str), expected);
    }
}
