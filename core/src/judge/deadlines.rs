//! When the signals of a pod change state: the one place where the thresholds are applied.

use super::timeouts::{GONE_REPORTS, NODE_GONE_AFTER, STUCK_AFTER, Timeouts};
use crate::{
    evidence::{AgentObservation, LastBeat, PodEvidence, Sidecar},
    moment::Moment,
    signals::{AgentSignal, BeatSignal, BeatState, LeaseSignal, NodeSignal, Signals},
};

/// When the signals of a pod change state if no further signal arrives.
#[derive(Clone, Copy)]
pub(super) struct Deadlines {
    /// The last beat; if there was none, the earliest moment at which there could have been one.
    pub(super) silent_since: Moment,
    /// When the beats are late.
    pub(super) late_at: Moment,
    /// When the beats expire.
    pub(super) expires_at: Moment,
    /// When the agent counts as silent; `None` if it never reported the pod, or reported that its processes are gone.
    pub(super) agent_silent_at: Option<Moment>,
    /// When the Lease is stale; `None` if the pod has no node.
    pub(super) lease_stale_at: Option<Moment>,
    /// When the pod counts as stuck in termination; `None` if it is not terminating.
    pub(super) stuck_at: Option<Moment>,
}

impl Deadlines {
    pub(super) fn of(pod: &PodEvidence, listening_since: Moment, timeouts: &Timeouts) -> Self {
        let silent_since = silent_since(pod, listening_since);
        Self {
            silent_since,
            late_at: silent_since + timeouts.beat_late,
            expires_at: silent_since + timeouts.lost,
            agent_silent_at: agent_silent_at(pod, timeouts),
            lease_stale_at: pod.node.as_ref().map(|node| node.lease_changed + timeouts.lease_stale),
            stuck_at: pod.terminating.map(|terminating| terminating.since + terminating.grace + STUCK_AFTER),
        }
    }

    /// The same for a pod whose node has been gone for [`NODE_GONE_AFTER`].
    pub(super) fn on_gone_node(self, pod: &PodEvidence, timeouts: &Timeouts) -> Self {
        let timeouts = timeouts.on_gone_node();
        Self {
            late_at: self.silent_since + timeouts.beat_late,
            agent_silent_at: agent_silent_at(pod, &timeouts),
            ..self
        }
    }

    /// The signals of the pod at `now`.
    pub(super) fn signals(self, pod: &PodEvidence, timeouts: &Timeouts, now: Moment) -> Signals {
        let node = pod.node.as_ref().map(|node| NodeSignal {
            state: node.state,
            is_gone: node.state.gone_since().is_some_and(|since| now >= since + NODE_GONE_AFTER),
        });
        let is_gone = node.is_some_and(|node| node.is_gone);
        let deadlines = if is_gone { self.on_gone_node(pod, timeouts) } else { self };
        let state = match pod.beat {
            LastBeat::None => BeatState::Never,
            LastBeat::Ending { .. } => BeatState::Ended,
            LastBeat::Running { .. } if now >= deadlines.expires_at => BeatState::Expired,
            LastBeat::Running { .. } if now >= deadlines.late_at => BeatState::Late,
            LastBeat::Running { .. } => BeatState::Fresh,
        };
        let is_silent = deadlines.agent_silent_at.is_some_and(|at| now >= at);
        let lease = pod.node.as_ref().zip(self.lease_stale_at);
        Signals {
            beat: BeatSignal { state, since: self.silent_since, expires_at: self.expires_at },
            agent: AgentSignal::of(pod.agent, is_silent, GONE_REPORTS),
            lease: lease.map(|(node, stale_at)| LeaseSignal { is_stale: now >= stale_at, changed: node.lease_changed }),
            node,
            stuck_at: self.stuck_at,
        }
    }
}

/// The last beat; if there was none, the earliest moment at which there could have been one.
fn silent_since(pod: &PodEvidence, listening_since: Moment) -> Moment {
    let bound_since = pod.bound_since.unwrap_or(listening_since);
    match (pod.beat, pod.sidecar) {
        (LastBeat::Running { last } | LastBeat::Ending { last }, _) => last,
        (LastBeat::None, Sidecar::Started(at)) => at.max(listening_since),
        // Without a sidecar only the agent can report the pod, and only once a main container runs.
        (LastBeat::None, Sidecar::Absent) => pod.ran_since.unwrap_or(bound_since).max(listening_since),
        (LastBeat::None, Sidecar::NotStarted) => bound_since.max(listening_since),
    }
}

fn agent_silent_at(pod: &PodEvidence, timeouts: &Timeouts) -> Option<Moment> {
    match pod.agent {
        AgentObservation::Alive { last } | AgentObservation::Blind { last } => Some(last + timeouts.agent_silent),
        AgentObservation::None | AgentObservation::Gone { .. } => None,
    }
}
