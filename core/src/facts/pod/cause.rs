//! Why a pod ended, as far as its own status says; see [`crate::causes`] for the origin of the reasons.
//!
//! The exit of a sidecar, the heartbeat sidecar or any other, never counts: a native sidecar is terminated once the work is done, and its exit code
//! says nothing about the work.

use std::time::Duration;

use jiff::Timestamp;
use jobwarden_common::{
    names::SIDECAR_CONTAINER,
    notification::{Cause, CauseKind},
};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodSpec, PodStatus};

use super::container::{MainFacts, find, is_sidecar, kept_message, last_terminated, terminated};
use crate::{
    causes::{of_container_word, of_disruption, of_pod_word, of_scheduling, signal_name},
    evidence::{ContainerState, PodPhase},
};

/// The grace period of a pod that is being deleted without saying for how long, as the API defaults it.
pub(super) const DEFAULT_GRACE_SECONDS: i64 = 30;

/// The reason of a container that the kernel killed for lack of memory.
const OOM_KILLED: &str = "OOMKilled";

/// The reason of any container that exited with an error.
const ERROR: &str = "Error";

/// The reason of a container that the kubelet no longer knows; the exit code 137 beside it is a placeholder
/// (`ContainerReasonStatusUnknown` in `pkg/kubelet/container/runtime.go`).
const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";

/// Why a pod ended or is being ended, from the most specific source to the least: the reason of the pod (`Evicted`, …), a disruption
/// (`PreemptionByScheduler`, …), the reason of a container (`OOMKilled`, `StartError`), the scheduler's reason if the pod never had a
/// node, the deletion of the pod, the exit code of a container.
///
/// Of several containers that failed, the first one counts: the others may have failed because of it. Of two in the same second,
/// one that ran out of memory explains the other.
pub(super) fn cause(pod: &Pod, spec: &PodSpec, status: &PodStatus, phase: PodPhase) -> Cause {
    let deleted = pod.metadata.deletion_timestamp.is_some();
    let over = phase == PodPhase::Failed || (deleted && phase != PodPhase::Succeeded);
    let first = first_failure(spec, status, over);
    let of_container = first.map(|(name, end)| container_cause(name, end)).unwrap_or_default();
    let telling = matches!(of_container.kind, Some(CauseKind::OomKilled | CauseKind::CreateFailed));
    let whole = status
        .reason
        .as_deref()
        .and_then(|word| of_pod_word(word, kept_message(status.message.as_deref())))
        .or_else(|| over.then(|| disruption(status)).flatten())
        // A pod that never had a node could not start: its deletion is not the cause, whoever deleted it and for which deadline.
        .or_else(|| unscheduled(spec, status))
        .or_else(|| {
            let ended = first.and_then(|(_, end)| finished_at(end));
            (deleted && over && !telling && is_after_deletion(pod, ended)).then(|| deletion(pod, &of_container))
        })
        // Some reasons say little, but nothing else is known.
        .or_else(|| of_container.is_empty().then(|| plain(status)).flatten());
    match whole {
        Some(whole) => Cause {
            container: of_container.container,
            exit_code: of_container.exit_code,
            signal: of_container.signal,
            finished_at: of_container.finished_at,
            ..whole
        },
        None => of_container,
    }
}

/// The first container to fail. A container that waits to be restarted has failed the pod only once the pod is `over`.
fn first_failure<'a>(
    spec: &PodSpec,
    status: &'a PodStatus,
    over: bool,
) -> Option<(&'a str, &'a ContainerStateTerminated)> {
    let init = spec.init_containers.iter().flatten().filter(|init| !is_sidecar(init) && init.name != SIDECAR_CONTAINER);
    let init = init.filter_map(|init| find(status.init_container_statuses.as_deref().unwrap_or_default(), &init.name));
    let ended = |status: &'a ContainerStatus| terminated(status).or_else(|| last_terminated(status).filter(|_| over));
    let failed = init.chain(status.container_statuses.iter().flatten()).filter_map(|status| {
        let end = ended(status).filter(|end| is_bad(end))?;
        Some((status.name.as_str(), end))
    });
    failed.min_by_key(|(_, end)| {
        let unknown = end.reason.as_deref() == Some(STATUS_UNKNOWN);
        (unknown, end.finished_at.is_none(), finished_at(end), end.reason.as_deref() != Some(OOM_KILLED))
    })
}

fn container_cause(name: &str, end: &ContainerStateTerminated) -> Cause {
    let word = end.reason.as_deref();
    let unknown = word == Some(STATUS_UNKNOWN);
    let signal = signal_name(end.signal, end.exit_code).filter(|_| !unknown);
    let by_itself = match &signal {
        _ if unknown => None,
        Some(_) => Some(CauseKind::Signal),
        None => Some(CauseKind::ExitCode),
    };
    let kind = word.and_then(of_container_word).or(by_itself);
    Cause {
        kind,
        container: Some(name.to_owned()),
        exit_code: Some(end.exit_code).filter(|_| !unknown),
        reason: end.reason.clone(),
        message: kept_message(end.message.as_deref()),
        resource: (kind == Some(CauseKind::OomKilled)).then(|| "memory".to_owned()),
        by: None,
        finished_at: finished_at(end).map(|at| at.to_string()),
        signal,
    }
}

fn finished_at(end: &ContainerStateTerminated) -> Option<Timestamp> {
    // A runtime that does not know the time reports 1970.
    end.finished_at.as_ref().map(|at| at.0).filter(|at| *at > Timestamp::UNIX_EPOCH)
}

fn is_bad(end: &ContainerStateTerminated) -> bool {
    end.exit_code != 0 || end.signal.is_some_and(|signal| signal != 0) || end.reason.as_deref() == Some(OOM_KILLED)
}

/// Who disrupted the pod (KEP-3329).
fn disruption(status: &PodStatus) -> Option<Cause> {
    let mut conditions = status.conditions.iter().flatten();
    let disruption =
        conditions.find(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True")?;
    Some(of_disruption(disruption.reason.as_deref()?, kept_message(disruption.message.as_deref())))
}

/// Why a pod is not bound to a node.
fn unscheduled(spec: &PodSpec, status: &PodStatus) -> Option<Cause> {
    let bound = spec.node_name.as_deref().is_some_and(|node| !node.is_empty());
    let mut conditions = status.conditions.iter().flatten().filter(|_| !bound);
    let waits = conditions.find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    Some(of_scheduling(waits.reason.as_deref()?, kept_message(waits.message.as_deref())))
}

/// Whether a container that ended at this time may have ended because its pod was deleted. The one time is the API server's, the
/// other the node's; they are compared for messages only.
fn is_after_deletion(pod: &Pod, ended: Option<Timestamp>) -> bool {
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
    let grace = Duration::from_secs(grace.try_into().unwrap_or(0));
    let asked = pod.metadata.deletion_timestamp.as_ref().and_then(|at| at.0.checked_sub(grace).ok());
    asked.zip(ended).is_none_or(|(asked, ended)| ended >= asked)
}

/// Whether every main container has ended well, and none of them after the pod was deleted: a worker that exits with code 0 when it is
/// asked to stop has not done its work.
pub(super) fn work_done(pod: &Pod, mains: &[MainFacts], statuses: &[ContainerStatus]) -> bool {
    let deleted = pod.metadata.deletion_timestamp.is_some();
    let done = |main: &MainFacts| {
        let end = find(statuses, &main.name).and_then(terminated);
        let was_asked_to = |end| deleted && is_after_deletion(pod, finished_at(end));
        end.is_some_and(|end| !is_bad(end) && !was_asked_to(end))
    };
    !mains.is_empty() && mains.iter().all(done)
}

/// The status does not say who deleted a pod: see [`crate::causes::with_pod_events`].
fn deletion(pod: &Pod, of_container: &Cause) -> Cause {
    let forced = pod.metadata.deletion_grace_period_seconds == Some(0);
    let how = if forced { "the pod was deleted without grace" } else { "the pod was deleted" };
    let end = match (&of_container.container, &of_container.signal, of_container.exit_code) {
        (Some(name), Some(signal), _) => format!("; container {name} was ended by {signal}"),
        (Some(name), None, Some(code)) => format!("; container {name} then ended with exit code {code}"),
        _ => String::new(),
    };
    Cause {
        kind: Some(CauseKind::Deleted),
        reason: Some("Deleted".to_owned()),
        message: Some(format!("{how}{end}")),
        ..Cause::default()
    }
}

fn plain(status: &PodStatus) -> Option<Cause> {
    let reason = status.reason.clone().filter(|reason| reason != ERROR)?;
    Some(Cause { reason: Some(reason), message: kept_message(status.message.as_deref()), ..Cause::default() })
}

/// Whether a main container was killed for lack of memory, now or in its last run.
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
