//! The kinds of objects that admission changes.

use serde_json::Value;

/// The kinds that admission changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Job,
    Pod,
    /// Any other kind, which is left unchanged.
    Other,
}

impl Kind {
    pub(crate) fn of(object: &Value) -> Self {
        match (object["apiVersion"].as_str(), object["kind"].as_str()) {
            (Some("batch/v1"), Some("Job")) => Self::Job,
            (Some("v1"), Some("Pod")) => Self::Pod,
            _ => Self::Other,
        }
    }

    /// The kind of the items of a list that do not name theirs, as in the `JobList` and the `PodList` that the API server itself
    /// gives.
    pub(super) fn of_items(list: &Value) -> Self {
        match (list["apiVersion"].as_str(), list["kind"].as_str()) {
            (Some("batch/v1"), Some("JobList")) => Self::Job,
            (Some("v1"), Some("PodList")) => Self::Pod,
            _ => Self::Other,
        }
    }

    /// For messages about an object that does not name its kind.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Job => "Job",
            Self::Pod => "Pod",
            Self::Other => "object",
        }
    }
}
