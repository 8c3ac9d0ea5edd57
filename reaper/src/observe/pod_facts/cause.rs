//! Why a pod failed, as far as the kubelet tells. The sidecar's own exit never counts.

use std::time::Duration;

use jobwarden_common::notification::Cause;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, PodStatus};

use super::{
    MainFacts,
    container::{kept_message, last_terminated, terminated},
};
use crate::evidence::{ContainerState, PodPhase};

/// The kubelet's word for a container that the kernel killed for want of memory.
const OOM_KILLED: &str = "OOMKilled";

/// The kubelet's word for any container that ended badly: it says nothing.
const ERROR: &str = "Error";

/// What is known of a failure: the pod's own reason (`Evicted`, …) before a disruption's (`PreemptionByScheduler`, …)
/// before the container's, each with its message.
pub(super) fn cause(status: &PodStatus, phase: PodPhase, mains: &[ContainerStatus]) -> Cause {
    let of_pod = status.reason.clone().map(|reason| (reason, kept_message(status.message.as_deref())));
    // A container that waits to run again has failed the pod only once the pod has.
    let ended = |main| terminated(main).or_else(|| last_terminated(main).filter(|_| phase == PodPhase::Failed));
    let ended_badly = |main| ended(main).filter(|end| is_bad(end)).map(|end| (main, end));
    let failed = mains.iter().filter_map(ended_badly);
    // Of several, one that ran out of memory explains the others.
    let worst = failed.min_by_key(|(_, end)| end.reason.as_deref() != Some(OOM_KILLED));
    let of_container = worst.and_then(|(_, end)| {
        let reason = end.reason.clone()?;
        let signal = end.signal.filter(|signal| *signal != 0).map(|signal| format!("killed by signal {signal}"));
        Some((reason, kept_message(end.message.as_deref()).or(signal)))
    });
    let of_disruption = (phase == PodPhase::Failed).then(|| disruption(status)).flatten();
    let telling = of_container.clone().filter(|(reason, _)| reason != ERROR);
    let (reason, message) = of_pod.or(of_disruption).or(telling).or(of_container).unzip();
    Cause {
        container: worst.map(|(main, _)| main.name.clone()),
        exit_code: worst.map(|(_, end)| end.exit_code),
        reason,
        message: message.flatten(),
    }
}

fn is_bad(end: &ContainerStateTerminated) -> bool {
    end.exit_code != 0 || end.signal.is_some_and(|signal| signal != 0) || end.reason.as_deref() == Some(OOM_KILLED)
}

/// Who disrupted the pod (KEP-3329).
fn disruption(status: &PodStatus) -> Option<(String, Option<String>)> {
    let mut conditions = status.conditions.iter().flatten();
    let disruption =
        conditions.find(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True")?;
    Some((disruption.reason.clone()?, kept_message(disruption.message.as_deref())))
}

/// Whether a main container was killed for want of memory, now or in its last run.
pub(super) fn oom_killed(mains: &[ContainerStatus]) -> bool {
    let ends = mains.iter().flat_map(|main| [terminated(main), last_terminated(main)]).flatten();
    ends.into_iter().any(|end| end.reason.as_deref() == Some(OOM_KILLED))
}

/// From the first start to the last end of the main containers, once all have ended: both by the clock of one kubelet.
pub(super) fn ran_for(mains: &[MainFacts], statuses: &[ContainerStatus]) -> Option<Duration> {
    if mains.is_empty() || mains.iter().any(|main| main.state != ContainerState::Terminated) {
        return None;
    }
    let ends = || statuses.iter().filter_map(terminated);
    let started = ends().filter_map(|end| end.started_at.as_ref()).min()?;
    let finished = ends().filter_map(|end| end.finished_at.as_ref()).max()?;
    Duration::try_from(finished.0.duration_since(started.0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_without_containers_has_not_run() {
        assert_eq!(ran_for(&[], &[]), None);
    }
}
