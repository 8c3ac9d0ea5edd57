//! The rows about pods.

use jobwarden_common::names::SIDECAR_CONTAINER;

use super::clock::Clock;
use crate::{
    deadlines::Deadlines,
    evidence::{
        AgentObservation, ContainerState, LastBeat, NodeEvidence, NodeState, PodEvidence, PodPhase, Sidecar,
        StartProblem,
    },
    moment::Moment,
    policy::{Policy, Unseen},
    timeouts::{GONE_REPORTS, NODE_GONE_AFTER, REBOOT_REPORTED_AFTER, Timeouts},
    verdict::{LostReason, PodVerdict},
};

/// The verdict of the first row about pods that matches.
pub(super) fn judge_pod(
    pod: &PodEvidence,
    listening_since: Moment,
    policy: &Policy,
    timeouts: &Timeouts,
    clock: &mut Clock,
) -> PodVerdict {
    match (pod.phase, &pod.node) {
        (PodPhase::Succeeded, _) => PodVerdict::Finishing,
        (PodPhase::Failed, _) => PodVerdict::AttemptFailed,
        (PodPhase::Pending | PodPhase::Running, Some(node)) => {
            let deadlines = Deadlines::of(pod, listening_since, timeouts);
            PodView { pod, node, listening_since, deadlines, policy, timeouts, clock }.judge()
        }
        (PodPhase::Pending | PodPhase::Running, None) => judge_unscheduled(pod, policy, clock),
    }
}

/// P13. Unless the policy says otherwise an unscheduled pod waits indefinitely: the scheduler may find a node at any time.
fn judge_unscheduled(pod: &PodEvidence, policy: &Policy, clock: &mut Clock) -> PodVerdict {
    match (pod.unscheduled_since, policy.unscheduled_timeout) {
        (Some(since), Some(timeout)) if pod.terminating.is_none() && clock.passed(since, timeout) => {
            PodVerdict::Lost(LostReason::Unschedulable)
        }
        _ => PodVerdict::Waiting,
    }
}

/// A bound pod that has not ended, at one moment and under one policy. Where the result of a method will change with time alone,
/// the method asks the clock, which records when.
struct PodView<'a> {
    pod: &'a PodEvidence,
    node: &'a NodeEvidence,
    listening_since: Moment,
    deadlines: Deadlines<'a>,
    policy: &'a Policy,
    timeouts: &'a Timeouts,
    clock: &'a mut Clock,
}

impl PodView<'_> {
    fn judge(mut self) -> PodVerdict {
        if self.lost_with_node() {
            PodVerdict::Lost(LostReason::NodeGone)
        } else if let Some(verdict) = self.not_starting() {
            verdict
        } else if self.process_gone() {
            PodVerdict::Lost(LostReason::ProcessGone)
        } else if self.outcome_unknown() {
            PodVerdict::Lost(LostReason::OutcomeUnknown)
        } else if self.stuck_in_termination() && self.agent_alive() {
            PodVerdict::Stuck
        } else if self.stalled() {
            PodVerdict::Lost(LostReason::Stalled)
        } else if self.init_runs_too_long() {
            PodVerdict::Lost(LostReason::InitTimeout)
        } else if self.beat_fresh() {
            PodVerdict::Alive { without_beat: false }
        } else if self.agent_alive() {
            PodVerdict::Alive { without_beat: self.beat_missing() }
        } else if self.beat_expired() && self.unseen_by_agent() && self.lease_stale() {
            PodVerdict::Lost(LostReason::NodeUnreachable)
        } else if self.unseen_on_healthy_node() {
            match self.policy.unseen {
                Unseen::Lost => PodVerdict::Lost(LostReason::HeartbeatLost),
                Unseen::Report => PodVerdict::Unseen,
            }
        } else if self.beat_late() {
            PodVerdict::Suspect
        } else if self.stuck_in_termination() {
            PodVerdict::Stuck
        } else {
            PodVerdict::Waiting
        }
    }

    /// P2.
    fn lost_with_node(&mut self) -> bool {
        // A signal or a report of the kubelet after the boot would have ended this.
        if self.pod.rebooted.is_some_and(|since| self.clock.passed(since, REBOOT_REPORTED_AFTER)) {
            return true;
        }
        let Some(since) = self.node.state.gone_since() else { return false };
        if !self.clock.passed(since, NODE_GONE_AFTER) {
            return false;
        }
        let timeouts = self.timeouts.on_gone_node();
        let heard_by = self.deadlines.by(&timeouts).heard_by();
        self.clock.reached(heard_by)
    }

    /// P3. Its kubelet renews the Lease: one that does not can start nothing, which the API server notices only later.
    fn not_starting(&mut self) -> Option<PodVerdict> {
        let since = self.pod.starting_since.filter(|_| self.pod.terminating.is_none())?;
        let ready = self.node.state == NodeState::Ready && !self.lease_stale();
        if !ready || !self.clock.passed(since, self.policy.start_timeout) {
            return None;
        }
        Some(match &self.pod.start_problem {
            Some(problem) if problem.ours => PodVerdict::SidecarBlocks,
            Some(problem) => PodVerdict::Lost(start_failure(problem)),
            None => PodVerdict::Lost(LostReason::StartTimeout),
        })
    }

    /// P4: a healthy kubelet reports an ended container within seconds, and this one does not.
    fn process_gone(&mut self) -> bool {
        let Some(since) = self.agent_gone_since().filter(|_| self.kubelet_says_running()) else { return false };
        let since = since.max(self.listening_since);
        !self.lease_stale() && self.clock.reached(since + self.timeouts.process_gone)
    }

    /// The processes have ended, and the kubelet can still report how: that is row P4 to decide.
    fn end_is_awaited(&self) -> bool {
        self.agent_gone_since().is_some() && self.kubelet_says_running()
    }

    fn kubelet_says_running(&self) -> bool {
        self.pod.phase == PodPhase::Running
            && self.pod.mains.iter().any(|main| main.state == ContainerState::Running)
            && self.pod.mains.iter().all(|main| main.state != ContainerState::WaitingToRestart)
    }

    /// P5: the worker had ended, but its node can no longer report how.
    fn outcome_unknown(&mut self) -> bool {
        let ended = matches!(self.pod.beat, LastBeat::Ending { .. }) || self.agent_gone_since().is_some();
        let silence = self.timeouts.lost.max(self.timeouts.lease_stale);
        ended && !self.agent_may_see_it() && self.clock.reached(self.node.lease_changed + silence)
    }

    /// P6. The row applies to a pod that the agent sees alive, and to a pod of which no other row says anything: one that never
    /// started, and that its kubelet does not remove.
    fn stuck_in_termination(&mut self) -> bool {
        self.deadlines.stuck_at().is_some_and(|at| self.clock.reached(at))
    }

    /// P12: the worker is alive and makes no progress.
    fn stalled(&mut self) -> bool {
        let (Some(progress), Some(after)) = (self.pod.cpu_progress, self.policy.stall_after) else { return false };
        let works = self.pod.phase == PodPhase::Running && self.pod.terminating.is_none();
        works && self.clock.passed(progress.max(self.listening_since), after) && self.agent_alive()
    }

    /// P14: an init container of the workload runs on a node that works, and no main container does.
    fn init_runs_too_long(&mut self) -> bool {
        let (Some(init), Some(after)) = (&self.pod.initializing, self.policy.init_timeout) else { return false };
        self.pod.terminating.is_none()
            && self.clock.passed(init.since, after)
            && !self.lease_stale()
            && !self.agent_alive()
    }

    /// The last beat is younger than suspect-after and did not say that the pod ends.
    fn beat_fresh(&mut self) -> bool {
        self.deadlines.fresh_until().is_some_and(|until| !self.clock.reached(until))
    }

    /// The last beat is older than suspect-after.
    fn beat_late(&mut self) -> bool {
        matches!(self.pod.beat, LastBeat::Running { .. }) && self.clock.reached(self.deadlines.late_at())
    }

    /// No beat arrived for suspect-after although one was due.
    fn beat_missing(&mut self) -> bool {
        self.pod.sidecar != Sidecar::LeftOut && self.clock.reached(self.deadlines.late_at())
    }

    /// No beat arrived for lost-after, whatever the last one said.
    fn beat_expired(&mut self) -> bool {
        self.clock.reached(self.deadlines.expires_at())
    }

    /// P9. On a node that was away, after a reboot or behind a partition, the signals need their time to arrive again.
    fn unseen_on_healthy_node(&mut self) -> bool {
        self.beat_expired()
            && self.unseen_by_agent()
            && self.has_run()
            && !self.sidecar_is_start_problem()
            && !self.end_is_awaited()
            && self.clock.reached(self.node.lease_steady_since + self.timeouts.lost)
    }

    /// The agent has not seen the pod alive for lost-after either. Its latest report alone does not suffice: it changes as soon as a
    /// worker ends or an agent restarts, long before a healthy kubelet reports that.
    fn unseen_by_agent(&mut self) -> bool {
        self.pod.seen_alive.is_none_or(|last| self.clock.reached(last + self.timeouts.lost))
    }

    /// Nothing has started, and the sidecar does not run: the kubelet says why there are no signals, and row P3 follows.
    fn sidecar_is_start_problem(&self) -> bool {
        let problem = self.pod.start_problem.as_ref().filter(|_| self.pod.phase == PodPhase::Pending);
        problem.is_some_and(|problem| problem.container == SIDECAR_CONTAINER)
    }

    /// A container of the pod has run, so signals are expected. A pod that waits for its images on a healthy node is a case of P3.
    fn has_run(&self) -> bool {
        match self.pod.sidecar {
            Sidecar::Started(_) => true,
            Sidecar::NotStarted => self.pod.beat != LastBeat::None,
            Sidecar::Absent | Sidecar::LeftOut => self.pod.phase == PodPhase::Running,
        }
    }

    /// The agent saw processes of a main container in a recent report.
    fn agent_alive(&mut self) -> bool {
        let sees = matches!(self.pod.agent, AgentObservation::Alive { .. });
        sees && self.deadlines.agent_silent_at().is_some_and(|at| !self.clock.reached(at))
    }

    /// The same, and a newer report that says so may be missing because the reaper did not receive it.
    fn agent_may_see_it(&mut self) -> bool {
        let AgentObservation::Alive { last } = self.pod.agent else { return false };
        !self.clock.reached(last.max(self.listening_since) + self.timeouts.agent_silent)
    }

    /// The kubelet has not renewed the node's Lease for too long.
    fn lease_stale(&mut self) -> bool {
        self.clock.reached(self.deadlines.lease_stale_at(self.node))
    }

    /// Since when the processes are known to be gone.
    fn agent_gone_since(&self) -> Option<Moment> {
        self.pod.agent.gone_since(GONE_REPORTS)
    }
}

/// The loss for a reason that the kubelet gives (`pkg/kubelet/images/types.go`, `pkg/kubelet/container/sync_result.go`).
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
