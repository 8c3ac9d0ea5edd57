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

    /// Until when the last beat shows that the pod runs; `None` if it does not say so, or there was none.
    pub(crate) fn fresh_until(self) -> Option<Moment> {
        match self.pod.beat {
            LastBeat::Running { last } => Some(last + self.timeouts.beat_late),
            LastBeat::None | LastBeat::Ending { .. } => None,
        }
    }

    /// When the beats are late: no beat has arrived for suspect-after in which one could have arrived.
    pub(crate) fn late_at(self) -> Moment {
        self.silent_since() + self.timeouts.beat_late
    }

    /// When the beats expire.
    pub(crate) fn expires_at(self) -> Moment {
        self.silent_since() + self.timeouts.lost
    }

    /// Until when the last report of the agent counts; `None` if it never reported the pod, or reported that its processes are gone.
    pub(crate) fn agent_silent_at(self) -> Option<Moment> {
        match self.pod.agent {
            AgentObservation::Alive { last } | AgentObservation::Blind { last } => {
                Some(last + self.timeouts.agent_silent)
            }
            AgentObservation::None | AgentObservation::Gone { .. } => None,
        }
    }

    /// From when on it is certain that no beat or report of the pod is merely missing: a pod that can be heard has been heard by then.
    /// A beat is not to be expected from a pod without a sidecar or after its last beat, nor a report after one that saw its processes
    /// gone.
    pub(crate) fn heard_by(self) -> Moment {
        let Self { pod, listening_since, timeouts } = self;
        let beat = match (pod.beat, pod.sidecar) {
            (LastBeat::Running { last }, _) => Some(last.max(listening_since)),
            (LastBeat::Ending { .. }, _) | (LastBeat::None, Sidecar::Absent | Sidecar::LeftOut) => None,
            (LastBeat::None, Sidecar::NotStarted | Sidecar::Started(_)) => Some(listening_since),
        };
        let report = match pod.agent {
            AgentObservation::Alive { last } => Some(last.max(listening_since)),
            AgentObservation::None | AgentObservation::Blind { .. } => Some(listening_since),
            AgentObservation::Gone { .. } => None,
        };
        let beat = beat.map(|since| since + timeouts.beat_late);
        let report = report.map(|since| since + timeouts.agent_silent);
        beat.max(report).unwrap_or_default()
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
        let expires_at = self.expires_at();
        let since = match self.pod.beat {
            LastBeat::None => self.silent_since(),
            LastBeat::Running { last } | LastBeat::Ending { last } => last,
        };
        let state = match self.pod.beat {
            LastBeat::None => BeatState::Never,
            LastBeat::Ending { .. } => BeatState::Ended,
            LastBeat::Running { .. } if now >= expires_at => BeatState::Expired,
            LastBeat::Running { .. } if deadlines.fresh_until().is_none_or(|until| now >= until) => BeatState::Late,
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

    /// The last beat; if there was none, the earliest moment at which there could have been one. The time in which none could be
    /// received does not count.
    fn silent_since(self) -> Moment {
        let Self { pod, listening_since, .. } = self;
        let bound_since = pod.bound_since.unwrap_or(listening_since);
        match (pod.beat, pod.sidecar) {
            (LastBeat::Running { last } | LastBeat::Ending { last }, _) => last.max(listening_since),
            (LastBeat::None, Sidecar::Started(at)) => at.max(listening_since),
            // Without a sidecar only the agent can report the pod, and only once a main container runs.
            (LastBeat::None, Sidecar::Absent | Sidecar::LeftOut) => {
                pod.ran_since.unwrap_or(bound_since).max(listening_since)
            }
            (LastBeat::None, Sidecar::NotStarted) => bound_since.max(listening_since),
        }
    }
}
