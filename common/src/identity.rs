//! IDs of runs, jobs and pods, and how they become label values.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Clones share the text: a large cluster has hundreds of thousands of IDs, each in several places.
macro_rules! identity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The ID as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<T: Into<Arc<str>>> From<T> for $name {
            fn from(value: T) -> Self {
                Self(value.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identity!(
    /// The orchestrator's ID of one execution of its workflow.
    RunId
);
identity!(
    /// The orchestrator's ID of one Kubernetes Job.
    JobId
);
identity!(
    /// `metadata.uid` of a pod: the ID of an attempt.
    PodUid
);
identity!(
    /// `metadata.uid` of a Job.
    JobUid
);
identity!(
    /// `metadata.name` of a node.
    NodeName
);

/// The maximum length of a label value, from the API conventions of Kubernetes.
const MAX_LABEL_VALUE: usize = 63;

/// `id` as a label value: `id` itself if it is valid, else `h-` and the first 40 hex digits of its SHA-256. The exact ID
/// belongs in the annotation of the same key.
pub fn label_value(id: &str) -> Cow<'_, str> {
    if is_label_value(id) {
        return Cow::Borrowed(id);
    }
    let digest = Sha256::digest(id.as_bytes());
    let hex = digest.iter().take(20).map(|byte| format!("{byte:02x}"));
    Cow::Owned(std::iter::once("h-".to_owned()).chain(hex).collect())
}

/// Whether `value` is a valid, non-empty label value in Kubernetes: at most 63 of `[A-Za-z0-9._-]`, alphanumeric at both
/// ends.
fn is_label_value(value: &str) -> bool {
    let alphanumeric_at_ends =
        value.starts_with(|c: char| c.is_ascii_alphanumeric()) && value.ends_with(|c: char| c.is_ascii_alphanumeric());
    alphanumeric_at_ends
        && value.len() <= MAX_LABEL_VALUE
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("7")]
    #[case("a.b_c-9")]
    #[case(&"x".repeat(63))]
    fn a_valid_label_value_is_unchanged(#[case] id: &str) {
        assert_eq!(label_value(id), id);
    }

    #[rstest]
    #[case("")]
    #[case("-a")]
    #[case("a.")]
    #[case("a b")]
    #[case("ä")]
    #[case(&"x".repeat(64))]
    fn an_invalid_label_value_becomes_a_digest(#[case] id: &str) {
        let value = label_value(id);
        assert_eq!(value.len(), 42);
        assert!(value.starts_with("h-"));
    }

    #[test]
    fn the_digest_is_sha_256() {
        // sha256("") begins e3b0c442… (FIPS 180-4 examples).
        assert_eq!(label_value(""), "h-e3b0c44298fc1c149afbf4c8996fb92427ae41e4");
    }

    proptest! {
        #[test]
        fn every_id_has_a_valid_label_value(id in ".*") {
            prop_assert!(is_label_value(&label_value(&id)));
        }
    }
}
