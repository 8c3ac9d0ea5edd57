//! When the signals of a pod change state: the one place where the thresholds are applied.

use crate::{
    evidence::{AgentObservation, LastBeat, NodeEvidence, PodEvidence, Sidecar},
    moment::Moment,
    signals::{AgentSignal, BeatSignal, BeatState, LeaseSignal, NodeSignal, Signals},
    timeouts::{GONE_REPORTS, NODE_GONE_AFTER, STUCK_AFTER, Timeouts},
};

/// When the signals of a pod change state if no further signal arrives. A deadline is computed when it is asked for: most verdicts
/// rest on few of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines<'a> {
    pod: &'a PodEvidence,
    listening_since: Moment,
    timeouts: &'a Timeouts,
}

impl<'a> Deadlines<'a> {
    pub(crate) fn of(pod: &'a PodEvidence, listening_since: Moment, timeouts: &'a Timeouts) -> Self {
        Self { pod, listening_since, timeouts }
    }

    /// The same with other thresholds.
    pub(crate) fn by<'b>(self, timeouts: &'b Timeouts) -> Deadlines<'b>
    where
        'a: 'b,
    {
        Deadlines { timeouts, ..self }
    }

    /// When the beats are late.
    pub(crate) fn late_at(self) -> Moment {
        self.silent_since() + self.timeouts.beat_late
    }

    /// When the beats expire.
    pub(crate) fn expires_at(self) -> Moment {
        self.silent_since() + self.timeouts.lost
    }

    /// When the agent counts as silent; `None` if it never reported the pod, or reported that its processes are gone.
    pub(crate) fn agent_silent_at(self) -> Option<Moment> {
        match self.pod.agent {
            AgentObservation::Alive { last } | AgentObservation::Blind { last } => {
                Some(last + self.timeouts.agent_silent)
            }
            AgentObservation::None | AgentObservation::Gone { .. } => None,
        }
    }

    /// When the Lease is stale.
    pub(crate) fn lease_stale_at(self, node: &NodeEvidence) -> Moment {
        node.lease_changed + self.timeouts.lease_stale
    }

    /// When the pod counts as stuck in termination; `None` if it is not terminating.
    pub(crate) fn stuck_at(self) -> Option<Moment> {
        self.pod.terminating.map(|terminating| terminating.since + terminating.grace + STUCK_AFTER)
    }

    /// The signals of the pod at `now`.
    #[inline]
    pub(crate) fn signals(self, now: Moment) -> Signals {
        let node = self.pod.node.as_ref().map(|node| NodeSignal {
            state: node.state,
            is_gone: node.state.gone_since().is_some_and(|since| now >= since + NODE_GONE_AFTER),
        });
        let on_gone_node = self.timeouts.on_gone_node();
        let is_gone = node.is_some_and(|node| node.is_gone);
        let deadlines = if is_gone { self.by(&on_gone_node) } else { self };
        let (since, expires_at) = (self.silent_since(), self.expires_at());
        let state = match self.pod.beat {
            LastBeat::None => BeatState::Never,
            LastBeat::Ending { .. } => BeatState::Ended,
            LastBeat::Running { .. } if now >= expires_at => BeatState::Expired,
            LastBeat::Running { .. } if now >= deadlines.late_at() => BeatState::Late,
            LastBeat::Running { .. } => BeatState::Fresh,
        };
        let is_silent = deadlines.agent_silent_at().is_some_and(|at| now >= at);
        let lease = |node| LeaseSignal { is_stale: now >= self.lease_stale_at(node), changed: node.lease_changed };
        Signals {
            beat: BeatSignal { state, since, expires_at },
            agent: AgentSignal::of(self.pod.agent, is_silent, GONE_REPORTS),
            lease: self.pod.node.as_ref().map(lease),
            node,
            stuck_at: self.stuck_at(),
        }
    }

    /// The last beat; if there was none, the earliest moment at which there could have been one.
    fn silent_since(self) -> Moment {
        let Self { pod, listening_since, .. } = self;
        let bound_since = pod.bound_since.unwrap_or(listening_since);
        match (pod.beat, pod.sidecar) {
            (LastBeat::Running { last } | LastBeat::Ending { last }, _) => last,
            (LastBeat::None, Sidecar::Started(at)) => at.max(listening_since),
            // Without a sidecar only the agent can report the pod, and only once a main container runs.
            (LastBeat::None, Sidecar::Absent) => pod.ran_since.unwrap_or(bound_since).max(listening_since),
            (LastBeat::None, Sidecar::NotStarted) => bound_since.max(listening_since),
        }
    }
}
