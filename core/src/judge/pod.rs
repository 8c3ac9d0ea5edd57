//! The terms in which the table speaks of a pod: fresh, expired, alive, gone, stale.

use std::time::Duration;

use super::{
    AGENT_SILENT_AFTER, Clock, GONE_REPORTS, LEASE_STALE_AFTER, NODE_GONE_AFTER, RowTimeouts, STUCK_AFTER,
    life_sign_ttl,
};
use crate::{
    evidence::{
        AgentObservation, ContainerState, LastBeat, NodeEvidence, NodeState, PodEvidence, PodPhase, Sidecar,
        StartProblem,
    },
    moment::Moment,
    policy::Policy,
    verdict::{LostReason, PodVerdict},
};

/// A bound pod that has not ended, seen at one moment under one policy.
pub(super) struct PodView<'a> {
    pub(super) pod: &'a PodEvidence,
    pub(super) node: &'a NodeEvidence,
    pub(super) bound_since: Moment,
    pub(super) listening_since: Moment,
    pub(super) policy: &'a Policy,
    pub(super) patience: RowTimeouts,
    pub(super) clock: &'a mut Clock,
}

impl PodView<'_> {
    /// P2.
    pub(super) fn on_gone_node(&mut self) -> bool {
        let Some(since) = self.node.state.gone_since() else { return false };
        self.clock.passed(since, NODE_GONE_AFTER)
            && !self.beat_within(life_sign_ttl(self.policy.suspect_after, Some(self.node), self.clock.now))
            && !self.seen_within(life_sign_ttl(self.agent_silent_after(), Some(self.node), self.clock.now))
    }

    /// P3.
    pub(super) fn not_starting(&mut self) -> Option<PodVerdict> {
        let since = self.pod.starting_since.filter(|_| self.pod.terminating.is_none())?;
        if self.node.state != NodeState::Ready || !self.clock.passed(since, self.policy.start_timeout) {
            return None;
        }
        Some(match &self.pod.start_problem {
            Some(problem) if problem.ours => PodVerdict::SidecarBlocks,
            Some(problem) => PodVerdict::Lost(start_failure(problem)),
            None => PodVerdict::Lost(LostReason::StartTimeout),
        })
    }

    /// P4: a kubelet that is well reports an ended container within seconds; this one does not.
    pub(super) fn gone_unnoticed(&mut self) -> bool {
        let Some(since) = self.agent_gone() else { return false };
        let kubelet_says_running = self.pod.phase == PodPhase::Running
            && self.pod.mains.iter().any(|main| main.state == ContainerState::Running)
            && self.pod.mains.iter().all(|main| main.state != ContainerState::WaitingToRestart);
        kubelet_says_running && !self.lease_stale() && self.clock.passed(since, self.patience.process_gone_after)
    }

    /// P5: it had ended, but its node cannot tell how.
    pub(super) fn ended_in_silence(&mut self) -> bool {
        let ended = matches!(self.pod.beat, LastBeat::Ending { .. }) || self.agent_gone().is_some();
        let silence = self.policy.lost_after.max(self.lease_stale_after());
        ended && !self.agent_alive() && self.clock.passed(self.node.lease_changed, silence)
    }

    /// P6.
    pub(super) fn stuck(&mut self) -> bool {
        self.overstays() && self.agent_alive()
    }

    /// P6, of a pod of which no witness says anything: one that was never started, and whose kubelet does not let it go.
    pub(super) fn overstays(&mut self) -> bool {
        let Some(terminating) = self.pod.terminating else { return false };
        self.clock.passed(terminating.since, terminating.grace + STUCK_AFTER)
    }

    /// P12, by choice: it lives, and nothing comes of it.
    pub(super) fn stalled(&mut self) -> bool {
        let (Some(progress), Some(after)) = (self.pod.cpu_progress, self.policy.stall_after) else { return false };
        let works = self.pod.phase == PodPhase::Running && self.pod.terminating.is_none();
        works && self.clock.passed(progress, after) && self.agent_alive()
    }

    /// Its last beat came within suspect-after and did not say that the pod ends.
    pub(super) fn beat_fresh(&mut self) -> bool {
        self.beat_within(self.policy.suspect_after)
    }

    fn beat_within(&mut self, long: Duration) -> bool {
        match self.pod.beat {
            LastBeat::Running { last } => !self.clock.passed(last, long),
            LastBeat::None | LastBeat::Ending { .. } => false,
        }
    }

    /// Its last beat is older than suspect-after.
    pub(super) fn beat_late(&mut self) -> bool {
        match self.pod.beat {
            LastBeat::Running { last } => self.clock.passed(last, self.policy.suspect_after),
            LastBeat::None | LastBeat::Ending { .. } => false,
        }
    }

    /// Nothing was heard for lost-after, whatever was heard last.
    pub(super) fn unheard(&mut self) -> bool {
        self.silent_for(self.policy.lost_after)
    }

    /// The agent has not seen it alive for lost-after either. Its word turns the moment that a worker ends or an agent begins
    /// anew, long before a kubelet that is well has told of it.
    pub(super) fn unseen(&mut self) -> bool {
        self.pod.seen_alive.is_none_or(|last| self.clock.passed(last, self.policy.lost_after))
    }

    /// Nothing was heard for suspect-after although a beat was due.
    pub(super) fn beat_missing(&mut self) -> bool {
        self.silent_for(self.policy.suspect_after)
    }

    fn silent_for(&mut self, long: Duration) -> bool {
        let since = match self.pod.beat {
            LastBeat::Running { last } | LastBeat::Ending { last } => last,
            // There never was a beat: since there could have been one.
            LastBeat::None => match self.pod.sidecar {
                Sidecar::Started(at) => at.max(self.listening_since),
                // Without a sidecar, nothing but the agent can tell of it, and that only once a main container runs.
                Sidecar::Absent => self.pod.ran_since.unwrap_or(self.bound_since).max(self.listening_since),
                Sidecar::NotStarted => self.bound_since.max(self.listening_since),
            },
        };
        self.clock.passed(since, long)
    }

    /// Something of the pod has run, so that it should be heard; a pod that waits for its images on a node that is well
    /// is P3's.
    pub(super) fn has_run(&self) -> bool {
        match self.pod.sidecar {
            Sidecar::Started(_) => true,
            Sidecar::NotStarted => !matches!(self.pod.beat, LastBeat::None),
            Sidecar::Absent => self.pod.phase == PodPhase::Running,
        }
    }

    /// The agent saw processes of a main container, and not long ago.
    pub(super) fn agent_alive(&mut self) -> bool {
        self.seen_within(self.agent_silent_after())
    }

    fn seen_within(&mut self, long: Duration) -> bool {
        match self.pod.agent {
            AgentObservation::Alive { last } => !self.clock.passed(last, long),
            AgentObservation::None | AgentObservation::Blind { .. } | AgentObservation::Gone { .. } => false,
        }
    }

    fn agent_silent_after(&self) -> Duration {
        AGENT_SILENT_AFTER.min(self.policy.lost_after)
    }

    /// Since when the processes are gone by the agent's word. Processes do not come back, so the word holds when the
    /// agent falls silent.
    fn agent_gone(&self) -> Option<Moment> {
        match self.pod.agent {
            AgentObservation::Gone { since, reports } if reports >= GONE_REPORTS => Some(since),
            _ => None,
        }
    }

    /// The kubelet has not renewed the node's Lease for too long.
    pub(super) fn lease_stale(&mut self) -> bool {
        let after = self.lease_stale_after();
        self.clock.passed(self.node.lease_changed, after)
    }

    fn lease_stale_after(&self) -> Duration {
        LEASE_STALE_AFTER.min(self.policy.lost_after).max(self.patience.lease_stale_after_least)
    }
}

/// The words are the kubelet's (`pkg/kubelet/images/types.go`, `pkg/kubelet/container/sync_result.go`).
fn start_failure(problem: &StartProblem) -> LostReason {
    match problem.reason.as_str() {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable" => LostReason::ImagePullFailed,
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => LostReason::CreateFailed,
        _ => LostReason::StartTimeout,
    }
}
