//! Choices of a policy, with their values in flags, files and annotations.

use std::{fmt, str::FromStr};

/// What is done about a lost pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLost {
    /// Remove it; the Job's own `backoffLimit` and policies decide whether it is tried again.
    Retry,
    /// Fail its Job.
    Fail,
    /// Notify the orchestrator, and change nothing.
    Report,
}

/// What is done about a pod without any signal on a healthy node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// Notify the orchestrator.
    Report,
    /// Treat it as lost.
    Lost,
}

/// What is done about an open Job that gets no pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStarting {
    /// Notify the orchestrator.
    Report,
    /// Fail it.
    Fail,
}

/// What is done when a main container has failed while another one keeps the pod running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnContainerExit {
    /// Wait for the others, as Kubernetes does.
    Wait,
    /// Fail the Job.
    Fail,
}

/// A value that is not one of the choices.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not one of {allowed}")]
pub struct UnknownWord {
    given: String,
    allowed: &'static str,
}

impl UnknownWord {
    pub(super) fn new(given: &str, allowed: &'static str) -> Self {
        Self { given: given.to_owned(), allowed }
    }
}

impl OnLost {
    /// Its value in flags, files and annotations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Fail => "fail",
            Self::Report => "report",
        }
    }
}

impl FromStr for OnLost {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "retry" => Ok(Self::Retry),
            "fail" => Ok(Self::Fail),
            "report" => Ok(Self::Report),
            _ => Err(UnknownWord::new(word, "retry, fail, report")),
        }
    }
}

impl Unseen {
    /// Its value in flags, files and annotations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Lost => "lost",
        }
    }
}

impl FromStr for Unseen {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "report" => Ok(Self::Report),
            "lost" => Ok(Self::Lost),
            _ => Err(UnknownWord::new(word, "report, lost")),
        }
    }
}

impl NotStarting {
    /// Its value in flags, files and annotations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Fail => "fail",
        }
    }
}

impl FromStr for NotStarting {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "report" => Ok(Self::Report),
            "fail" => Ok(Self::Fail),
            _ => Err(UnknownWord::new(word, "report, fail")),
        }
    }
}

impl OnContainerExit {
    /// Its value in flags, files and annotations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Fail => "fail",
        }
    }
}

impl FromStr for OnContainerExit {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "wait" => Ok(Self::Wait),
            "fail" => Ok(Self::Fail),
            _ => Err(UnknownWord::new(word, "wait, fail")),
        }
    }
}

macro_rules! display {
    ($($choice:ty),+) => { $(
        impl fmt::Display for $choice {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )+ };
}

display!(OnLost, Unseen, NotStarting, OnContainerExit);
