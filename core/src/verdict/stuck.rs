//! Stuck states: what keeps a pod from ending although no row says that it is lost.

use std::fmt;

use jobwarden_common::names::reason;

/// What keeps a pod from ending although it is not lost. It is reported, and nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StuckState {
    /// S1: it has been without a node for start-timeout.
    Unscheduled,
    /// S2: it has not started for start-timeout because its node is not ready.
    NodeNotReady,
    /// S3: a main container ended start-timeout ago, and another one keeps the pod running.
    ContainerExited,
}

impl StuckState {
    /// The reason in Events and notifications.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unscheduled => reason::UNSCHEDULED,
            Self::NodeNotReady => reason::NODE_NOT_READY,
            Self::ContainerExited => reason::CONTAINER_EXITED,
        }
    }
}

impl fmt::Display for StuckState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
