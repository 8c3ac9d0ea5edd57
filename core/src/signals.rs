//! The signals that a verdict on a pod rests on: the state of each when the pod was judged, and since when.
//!
//! [`JudgedPod::signals`](crate::verdict::JudgedPod::signals) computes them by the deadlines that led to the verdict. Everything else
//! (plans, notifications, Events, the API) reads them there and never compares a time with a threshold again.

use crate::{
    evidence::{AgentObservation, NodeState},
    moment::Moment,
};

/// The signals of one pod at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signals {
    /// The beats of the pod's sidecar.
    pub beat: BeatSignal,
    /// The reports of the node's agent about the pod.
    pub agent: AgentSignal,
    /// The Lease of the pod's node; `None` if the pod has no node.
    pub lease: Option<LeaseSignal>,
    /// The Node object; `None` if the pod has no node.
    pub node: Option<NodeSignal>,
    /// When the pod counts as stuck in termination; `None` if it is not terminating.
    pub stuck_at: Option<Moment>,
}

/// The beats of a pod's sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeatSignal {
    /// Their state.
    pub state: BeatState,
    /// When the last beat was received; if there was none, the earliest moment at which there could have been one.
    pub since: Moment,
    /// When the beats expire, or expired: lost-after later.
    pub expires_at: Moment,
}

/// The state of a pod's beats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeatState {
    /// The last beat is younger than suspect-after; on a node that is gone, than five sixths of it.
    Fresh,
    /// The last beat is older than that.
    Late,
    /// The last beat is older than lost-after.
    Expired,
    /// The last beat said that the kubelet has asked the sidecar to stop.
    Ended,
    /// No beat was ever received.
    Never,
}

/// The reports of the node's agent about a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentSignal {
    /// No report has mentioned the pod.
    Never,
    /// The agent saw processes of a main container in a recent report.
    Alive {
        /// When the report was received.
        last: Moment,
    },
    /// The agent cannot see the pod.
    Blind {
        /// When its last report was received.
        last: Moment,
    },
    /// The agent has stopped reporting the pod.
    Silent {
        /// When its last report was received.
        last: Moment,
        /// The last report saw processes; otherwise the agent was blind.
        was_alive: bool,
    },
    /// The agent saw processes earlier, and none in its latest reports. Processes do not come back, so this holds when the agent
    /// stops reporting.
    Gone {
        /// When the first of these reports was received.
        since: Moment,
        /// How many consecutive reports there were.
        reports: u32,
        /// There were enough of them to conclude that the processes have ended.
        confirmed: bool,
    },
}

impl AgentSignal {
    /// Since when the processes are known to be gone.
    pub fn gone_since(self) -> Option<Moment> {
        match self {
            Self::Gone { since, confirmed: true, .. } => Some(since),
            _ => None,
        }
    }

    /// The signal for an observation, where the agent is silent or not.
    pub(crate) fn of(observation: AgentObservation, is_silent: bool, gone_reports: u32) -> Self {
        match observation {
            AgentObservation::None => Self::Never,
            AgentObservation::Alive { last } if is_silent => Self::Silent { last, was_alive: true },
            AgentObservation::Blind { last } if is_silent => Self::Silent { last, was_alive: false },
            AgentObservation::Alive { last } => Self::Alive { last },
            AgentObservation::Blind { last } => Self::Blind { last },
            AgentObservation::Gone { since, reports } => {
                Self::Gone { since, reports, confirmed: observation.gone_since(gone_reports).is_some() }
            }
        }
    }
}

/// The Lease of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseSignal {
    /// Whether the kubelet has failed to renew it for too long.
    pub is_stale: bool,
    /// When a change of it was last received.
    pub changed: Moment,
}

/// The Node object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeSignal {
    /// The state of the node.
    pub state: NodeState,
    /// Whether the node has been deleted or out of service for long enough to act on.
    pub is_gone: bool,
}
