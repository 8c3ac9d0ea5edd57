//! The rows about stuck states: what keeps a pod from ending although no row says that it is lost.

use super::clock::Clock;
use crate::{
    evidence::{ContainerState, NodeState, PodEvidence},
    policy::{OnContainerExit, Policy},
    verdict::{PodVerdict, StuckState},
};

/// The first row about stuck states that matches a pod with this verdict. A pod that is being deleted has none: row P6 is about it.
pub(super) fn stuck(pod: &PodEvidence, verdict: PodVerdict, policy: &Policy, clock: &mut Clock) -> Option<StuckState> {
    if pod.has_ended() || pod.terminating.is_some() {
        return None;
    }
    match verdict {
        PodVerdict::Waiting => is_unscheduled(pod, policy, clock)
            .then_some(StuckState::Unscheduled)
            .or_else(|| waits_for_node(pod, policy, clock).then_some(StuckState::NodeNotReady)),
        // Another verdict comes first: the pod may have more wrong with it than a container that has ended.
        PodVerdict::Alive { .. } => {
            let exited = pod.exited.as_ref()?;
            clock.passed(exited.since, policy.start_timeout).then_some(StuckState::ContainerExited)
        }
        _ => None,
    }
}

/// S1. The scheduler may find a node at any time, so this is no loss; see P13.
fn is_unscheduled(pod: &PodEvidence, policy: &Policy, clock: &mut Clock) -> bool {
    pod.bound_since.is_none() && pod.unscheduled_since.is_some_and(|since| clock.passed(since, policy.start_timeout))
}

/// S2. Row P3 waits for a ready node, and Kubernetes evicts the pod only if it does not tolerate the node.
fn waits_for_node(pod: &PodEvidence, policy: &Policy, clock: &mut Clock) -> bool {
    let is_not_ready = pod.node.as_ref().is_some_and(|node| node.state == NodeState::NotReady);
    let has_to_start = pod.mains.iter().any(|main| main.state == ContainerState::NotStarted);
    is_not_ready && has_to_start && pod.bound_since.is_some_and(|since| clock.passed(since, policy.start_timeout))
}

/// J8: a main container has failed and is not restarted, and the pod runs on.
pub(super) fn has_failed_container(pods: &[PodEvidence], policy: &Policy) -> bool {
    policy.on_container_exit == OnContainerExit::Fail && pods.iter().any(failed_container)
}

/// Whether a main container of the pod has failed while another one keeps the pod running.
fn failed_container(pod: &PodEvidence) -> bool {
    let is_live = !pod.has_ended() && pod.terminating.is_none();
    is_live && pod.exited.as_ref().is_some_and(|exited| exited.exit_code != 0)
}
