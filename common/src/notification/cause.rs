//! Why a job ended as it did.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a job ended as it did, as far as the cluster shows. An unknown field is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// The kind of cause, for programs. A kind unknown to the reader is read as absent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "known_kind")]
    pub kind: Option<CauseKind>,
    /// The container that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Its exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it, such as `SIGKILL`: an exit code above 128 minus 128, by the convention of shells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// The reason in Kubernetes: from the runtime or kubelet (`OOMKilled`, `Evicted`, `ErrImagePull`), from a disruption
    /// (`PreemptionByScheduler`), or from the Job controller (`DeadlineExceeded`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The message that belongs to the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The resource that the node ran short of, for an eviction or an out-of-memory kill: `memory`, `ephemeral-storage`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The component that ended it, if known: `kubelet`, `kube-scheduler`, `job-controller`, `namespace-controller`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When the container ended, RFC 3339, by the clock of its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub finished_at: Option<String>,
}

impl Cause {
    /// Whether no field is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The cause in a sentence; `None` where nothing is known but that there was one.
    pub fn sentence(&self) -> Option<String> {
        let who = self.container.as_deref().map_or_else(|| "The pod".to_owned(), |name| format!("Container {name}"));
        let by = |separator: &str| self.by.as_ref().map(|by| format!("{separator}by {by}")).unwrap_or_default();
        if self.kind == Some(CauseKind::Deleted) {
            let ended = self.container.as_ref().zip(self.exit_code);
            let ended = ended.map(|(name, code)| format!("; container {name} then ended with exit code {code}"));
            return Some(format!("The pod was deleted{}{}.", by(" "), ended.unwrap_or_default()));
        }
        let did = match self.kind {
            Some(CauseKind::Unschedulable) => "has no node:",
            Some(CauseKind::ImagePullFailed | CauseKind::CreateFailed) => "could not start:",
            Some(CauseKind::NotAdmitted) => "was refused by its node:",
            _ => "ended with",
        };
        let how = match (&self.reason, self.exit_code) {
            (Some(reason), Some(code)) => format!("{reason}, exit code {code}"),
            (Some(reason), None) => reason.clone(),
            (None, Some(code)) => format!("exit code {code}"),
            (None, None) => return None,
        };
        let signal = self.signal.as_ref().map(|signal| format!(" ({signal})")).unwrap_or_default();
        let short_of = match (&self.resource, self.kind) {
            (Some(resource), Some(CauseKind::Evicted)) => format!(", because its node was short of {resource}"),
            _ => String::new(),
        };
        Some(format!("{who} {did} {how}{signal}{}{short_of}.", by(", ")))
    }
}

/// The kinds of causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CauseKind {
    /// A container was killed because it reached its memory limit, or because its node ran out of memory.
    #[serde(rename = "OOMKilled")]
    OomKilled,
    /// The kubelet evicted the pod because the node ran short of a resource.
    Evicted,
    /// The scheduler preempted the pod for one of higher priority.
    Preempted,
    /// The pod was evicted through the Eviction API, as by `kubectl drain`.
    Drained,
    /// The pod was evicted because of a taint of its node.
    Tainted,
    /// The node was shut down.
    NodeShutdown,
    /// The node is gone or unreachable.
    NodeLost,
    /// No node was found for the pod.
    Unschedulable,
    /// The kubelet rejected the pod.
    NotAdmitted,
    /// An image could not be pulled.
    ImagePullFailed,
    /// A container could not be created or started.
    CreateFailed,
    /// A container exited by itself with this exit code.
    ExitCode,
    /// A container was ended by a signal.
    Signal,
    /// The job exceeded its deadline.
    DeadlineExceeded,
    /// A rule of the Job's `podFailurePolicy` matched.
    PodFailurePolicy,
    /// The pod or Job was deleted.
    Deleted,
}

impl CauseKind {
    /// The value on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OomKilled => "OOMKilled",
            Self::Evicted => "Evicted",
            Self::Preempted => "Preempted",
            Self::Drained => "Drained",
            Self::Tainted => "Tainted",
            Self::NodeShutdown => "NodeShutdown",
            Self::NodeLost => "NodeLost",
            Self::Unschedulable => "Unschedulable",
            Self::NotAdmitted => "NotAdmitted",
            Self::ImagePullFailed => "ImagePullFailed",
            Self::CreateFailed => "CreateFailed",
            Self::ExitCode => "ExitCode",
            Self::Signal => "Signal",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::PodFailurePolicy => "PodFailurePolicy",
            Self::Deleted => "Deleted",
        }
    }
}

impl fmt::Display for CauseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A newer writer may send kinds that this reader does not know; the other fields remain usable.
fn known_kind<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<CauseKind>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Word {
        Known(CauseKind),
        #[allow(dead_code, reason = "only the variant matters")]
        Other(Option<String>),
    }
    Ok(match Word::deserialize(deserializer)? {
        Word::Known(kind) => Some(kind),
        Word::Other(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!({ "kind": "OOMKilled" }), Some(CauseKind::OomKilled))]
    #[case(json!({ "kind": "StruckByLightning" }), None)]
    #[case(json!({ "kind": null }), None)]
    #[case(json!({}), None)]
    fn an_unknown_kind_is_read_as_none(#[case] cause: serde_json::Value, #[case] kind: Option<CauseKind>) {
        let cause: Cause = serde_json::from_value(cause).expect("an unknown kind is no error");
        assert_eq!(cause.kind, kind);
    }

    #[test]
    fn the_example_in_the_docs_is_a_valid_cause() {
        let page = include_str!("../../../docs/causes.md");
        let example = page.split("```").find_map(|block| block.strip_prefix("json")).expect("an example");
        let shown: serde_json::Value = serde_json::from_str(example).expect("JSON");
        let cause: Cause = serde_json::from_value(shown.clone()).expect("a cause");
        assert_eq!(serde_json::to_value(&cause).expect("plain data"), shown);
    }

    #[test]
    fn an_empty_cause_has_no_fields_on_the_wire() {
        assert_eq!(serde_json::to_value(Cause::default()).expect("plain data"), json!({}));
    }

    #[test]
    fn as_str_of_a_kind_equals_its_serialised_form() {
        for kind in [CauseKind::OomKilled, CauseKind::NodeShutdown, CauseKind::Deleted] {
            assert_eq!(serde_json::to_value(kind).expect("plain data"), json!(kind.as_str()));
        }
    }
}
