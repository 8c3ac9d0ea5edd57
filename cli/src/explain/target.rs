//! The Job to explain.

use std::{fmt, str::FromStr};

/// `NAME` or `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    namespace: Option<String>,
    name: String,
}

/// Namespace and name of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobPath {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Target {
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The Job, in `namespace` if the target does not name one.
    pub(super) fn in_namespace(self, namespace: String) -> JobPath {
        let Self { namespace: own, name } = self;
        JobPath { namespace: own.unwrap_or(namespace), name }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // DNS names (RFC 1123), which is what the API server accepts. Other characters must not get into the path of a request.
        let is_name = |part: &str| {
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        };
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        if is_name(name) && namespace.is_none_or(is_name) {
            return Ok(Self { namespace: namespace.map(str::to_owned), name: name.to_owned() });
        }
        Err("expected NAME or NAMESPACE/NAME".to_owned())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("analyzer-7", "fallback", "analyzer-7")]
    #[case("ort/analyzer-7", "ort", "analyzer-7")]
    fn a_job_is_named_with_or_without_its_namespace(#[case] text: &str, #[case] namespace: &str, #[case] name: &str) {
        let job = text.parse::<Target>().expect("a name").in_namespace("fallback".to_owned());
        assert_eq!((job.namespace.as_str(), job.name.as_str()), (namespace, name));
    }

    #[rstest]
    #[case("ort/")]
    #[case("/analyzer-7")]
    #[case("ort/analyzer-7/status")]
    #[case("ort/../secrets")]
    #[case("ort/a?b")]
    #[case("")]
    fn a_text_that_is_no_name_is_rejected(#[case] text: &str) {
        text.parse::<Target>().expect_err("not a name");
    }
}
