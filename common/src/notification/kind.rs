//! The kinds of outcomes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of outcome of a Job or of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// The Job is complete.
    Succeeded,
    /// The Job failed according to Kubernetes.
    Failed,
    /// The Job is lost: jobwarden failed it, or it was deleted and no controller replaces it.
    Lost,
    /// The Job was deleted before it finished, and a controller that owns it knows; or a bare pod was deleted.
    Deleted,
    /// There is no verdict yet, but an operator should look.
    Suspect,
    /// One attempt is lost; the Job continues according to its spec.
    AttemptFailed,
    /// An attempt, or a Job, that was reported as suspect or lost is alive after all.
    Recovered,
    /// Outcomes of several Jobs of a namespace that has more than its share.
    Coalesced,
}

impl OutcomeKind {
    /// The value on the wire and in object names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Deleted => "deleted",
            Self::Suspect => "suspect",
            Self::AttemptFailed => "attempt_failed",
            Self::Recovered => "recovered",
            Self::Coalesced => "coalesced",
        }
    }

    /// The `type` of the event.
    pub fn event_type(self) -> String {
        format!("io.jobwarden.job.{}", self.as_str())
    }

    /// Whether this is the last outcome of the Job.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Lost | Self::Deleted)
    }
}

impl fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
