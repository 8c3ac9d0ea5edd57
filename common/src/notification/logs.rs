//! The last log lines of the container that decided an outcome.

use serde::{Deserialize, Serialize};

/// The last log lines of the container that decided, or why there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Logs {
    /// The container, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Whether the lines are those of the run before the container's present one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub previous: bool,
    /// The lines, the oldest first, as the container wrote them but for control characters, blank lines and what looks like a secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// Whether earlier lines or parts of long lines are left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Why there are no lines, in one word: `NodeNotAnswering`, `PodGone`, `NotStarted`, `NoLog`, `Forbidden`, `TimedOut`, `Busy` or
    /// `Failed`. More words may come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
}

/// Why there are no log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLogs {
    /// The node is gone, or does not answer.
    NodeNotAnswering,
    /// The pod is gone, or another one has its name.
    PodGone,
    /// The container has never started.
    NotStarted,
    /// The node has no log of the container any more.
    NoLog,
    /// The API server does not let jobwarden read it.
    Forbidden,
    /// It did not arrive in time.
    TimedOut,
    /// Too many logs were being read.
    Busy,
    /// Any other error.
    Failed,
}

impl NoLogs {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NodeNotAnswering => "NodeNotAnswering",
            Self::PodGone => "PodGone",
            Self::NotStarted => "NotStarted",
            Self::NoLog => "NoLog",
            Self::Forbidden => "Forbidden",
            Self::TimedOut => "TimedOut",
            Self::Busy => "Busy",
            Self::Failed => "Failed",
        }
    }
}

impl Logs {
    /// That there are none.
    pub fn unavailable(container: Option<String>, why: NoLogs) -> Self {
        Self { container, unavailable: Some(why.as_str().to_owned()), ..Self::default() }
    }
}
