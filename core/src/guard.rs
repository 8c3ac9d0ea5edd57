//! Guards: what holds back the writes for a lost pod although a row of the table has matched.
//!
//! A guard holds exactly the losses that could be its own fault. A loss that rests on missing signals could be the fault of whatever
//! brings them: *warm-up*, *self-beat* and the [`Breaker`] hold it. A loss that rests on objects could only be out of date: *watch-down*
//! holds it, and every other one, since the Leases come by a watch too.
//!
//! One more guard is [`crate::second_look`], a live read of Job and pod before every write.

use std::fmt;

use crate::{moment::Moment, verdict::LostReason};

pub use self::{
    breaker::{Breaker, BreakerReport, DomainReport, HOLD_FOR, JobStatus, SILENT_AFTER, Unit, WorkerNode},
    holds::{Holds, held, holds},
};

mod breaker;
mod holds;

/// The name of the guard [`Hold::Breaker`].
pub const BREAKER: &str = "breaker";

/// Why the writes for a lost pod are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The leader has not yet received signals for lost-after, or for 15 s if that is less.
    WarmUp {
        /// When it will have.
        until: Moment,
    },
    /// The beats that the reaper sends to itself through the Service do not arrive, so other beats may be missing too.
    SelfBeat,
    /// A watch is down: the Jobs, pods and nodes in the index may be out of date.
    WatchDown,
    /// Too many failure domains fail at the same time: see [`Breaker`].
    Breaker {
        /// What is counted.
        counted: Counted,
        /// Where.
        scope: Scope,
        /// How many are affected there.
        affected: usize,
        /// Of how many.
        of: usize,
    },
}

/// What a [`Breaker`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// Nodes from which nothing is received.
    SilentNodes,
    /// Nodes where processes are gone that the kubelet reports as running.
    ProcessGoneNodes,
    /// Jobs on healthy nodes that have lost their heartbeats.
    HeartbeatLostJobs,
}

impl Counted {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SilentNodes => "silent-nodes",
            Self::ProcessGoneNodes => "process-gone-nodes",
            Self::HeartbeatLostJobs => "heartbeat-lost-jobs",
        }
    }
}

/// Where a [`Breaker`] has tripped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the whole cluster.
    Cluster,
    /// In the zone of the lost pod's node.
    Zone,
    /// In the namespace of the Job.
    Namespace,
}

impl Scope {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Zone => "zone",
            Self::Namespace => "namespace",
        }
    }
}

impl Hold {
    /// The name in metrics, Events and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WarmUp { .. } => "warm-up",
            Self::SelfBeat => "self-beat",
            Self::WatchDown => "watch-down",
            Self::Breaker { .. } => BREAKER,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        let Self::Breaker { counted, scope, affected, of } = self else { return Ok(()) };
        let place = match scope {
            Scope::Cluster => "in the cluster",
            Scope::Zone => "in its zone",
            Scope::Namespace => "in its namespace",
        };
        match counted {
            Counted::SilentNodes => write!(f, " ({affected} of {of} nodes {place} fell silent together)"),
            Counted::ProcessGoneNodes => {
                write!(f, " (processes are gone on {affected} of {of} nodes {place} at the same time)")
            }
            Counted::HeartbeatLostJobs => {
                write!(f, " ({affected} of {of} Jobs {place} lost their heartbeats at the same time)")
            }
        }
    }
}

/// Whether a loss rests on a signal that is missing: a beat, a report of an agent that would say something else, a renewal. Then
/// whatever should have brought the signal may be at fault. The others rest on what the API server has.
pub fn rests_on_silence(reason: LostReason) -> bool {
    match reason {
        LostReason::ProcessGone
        | LostReason::OutcomeUnknown
        | LostReason::NodeUnreachable
        | LostReason::HeartbeatLost
        | LostReason::Stalled => true,
        // That no sign of life has arrived from a node that is gone counts only once one could have: see row P2.
        LostReason::NodeGone
        | LostReason::ImagePullFailed
        | LostReason::CreateFailed
        | LostReason::StartTimeout
        | LostReason::InitTimeout
        | LostReason::Unschedulable => false,
    }
}

#[cfg(test)]
mod tests;
