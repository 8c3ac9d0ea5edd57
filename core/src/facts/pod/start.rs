//! What the start of a pod waits for, and what stands in its way.

use jobwarden_common::names::SIDECAR_CONTAINER;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, PodStatus};

use super::container::{MainFacts, find, has_run, is_running, is_sidecar, kept_message, last_terminated, terminated};
use crate::evidence::{ContainerState, StartProblem};

/// Why a container waits when nothing is wrong with its start (`pkg/kubelet/kubelet_pods.go`, `pkg/kubelet/kuberuntime`). Every other
/// reason is a problem.
const BENIGN_WAITING_REASONS: [&str; 3] = ["ContainerCreating", "PodInitializing", "CrashLoopBackOff"];

/// The condition of a pod that says whether it has a sandbox (`PodReadyToStartContainers` in `pkg/kubelet/types`).
const HAS_SANDBOX: &str = "PodReadyToStartContainers";

/// How often our sidecar may have ended before its restarts count as a problem.
const SIDECAR_RESTARTS: i32 = 3;

/// What the start of the main containers of a pod waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPhase {
    /// Nothing: it is not bound to a node, all have started, or it has ended.
    NotStarting,
    /// An init container of the workload runs, or waits to be run again after an error.
    Initializing,
    /// A native sidecar of the workload runs, and its startup probe has not succeeded yet. The kubelet waits for that.
    WarmingUp,
    /// Nothing is awaited but the start of containers.
    Starting,
}

/// What a pod that is bound and has not ended waits for. `controlled` by a Job, whose controller counts the restarts of its containers.
pub(super) fn phase(
    init: &[Container],
    statuses: &[ContainerStatus],
    mains: &[MainFacts],
    controlled: bool,
) -> StartPhase {
    let mut of_workload = init
        .iter()
        .filter(|container| container.name != SIDECAR_CONTAINER)
        .filter_map(|container| Some((is_sidecar(container), find(statuses, &container.name)?)));
    if mains.iter().all(|main| main.state != ContainerState::NotStarted) {
        return StartPhase::NotStarting;
    }
    // The kubelet starts one after the other, so at most one is awaited.
    let awaited = of_workload.find_map(|(sidecar, status)| {
        if sidecar {
            (is_running(status) && status.started == Some(false)).then_some(StartPhase::WarmingUp)
        } else {
            let runs = is_running(status) || (controlled && waits_for_another_run(status));
            runs.then_some(StartPhase::Initializing)
        }
    });
    awaited.unwrap_or(StartPhase::Starting)
}

/// Whether it has failed and the kubelet runs it again after a while.
fn waits_for_another_run(status: &ContainerStatus) -> bool {
    let waits = status.state.as_ref().is_some_and(|state| state.waiting.is_some());
    waits && has_run(status)
}

/// Why a container does not start: the reason of the kubelet, or that an init container ends again and again before the main
/// containers have started.
/// `has_started` if a main container has: our sidecar keeps none from starting then.
pub(super) fn problem(pod: &PodStatus, has_started: bool) -> Option<StartProblem> {
    let init_statuses = pod.init_container_statuses.as_deref().unwrap_or_default();
    let statuses = pod.container_statuses.as_deref().unwrap_or_default();
    let cannot_start =
        || init_statuses.iter().chain(statuses).find_map(|status| start_problem(pod, status, has_started));
    cannot_start().or_else(|| init_statuses.iter().find_map(crash_loop))
}

fn start_problem(pod: &PodStatus, status: &ContainerStatus, has_started: bool) -> Option<StartProblem> {
    if status.name == SIDECAR_CONTAINER && has_run(status) && !has_started {
        return if has_lost_sandbox(pod) { sandbox_lost(status) } else { sidecar_ends(status) };
    }
    if has_run(status) {
        return None;
    }
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|reason| !BENIGN_WAITING_REASONS.contains(reason))?;
    Some(of(status, reason, waiting.message.as_deref()))
}

fn has_lost_sandbox(pod: &PodStatus) -> bool {
    pod.conditions.iter().flatten().any(|condition| condition.type_ == HAS_SANDBOX && condition.status == "False")
}

/// Our sidecar ended with the sandbox of the pod, as it does when its node restarts. If any container of a pod with restartPolicy
/// Never has run, the kubelet makes no other sandbox, and the pod stays pending (`computePodActions` in `pkg/kubelet/kuberuntime`).
fn sandbox_lost(status: &ContainerStatus) -> Option<StartProblem> {
    let end = terminated(status)?;
    let says = "the pod has lost its sandbox, as it does when its node restarts, and with restartPolicy Never the kubelet makes \
                no other";
    Some(StartProblem { ours: false, ..of(status, end.reason.as_deref().unwrap_or("SandboxLost"), Some(says)) })
}

/// Our sidecar has run and ended, or does so again and again: the containers after it wait for it to run.
fn sidecar_ends(status: &ContainerStatus) -> Option<StartProblem> {
    if is_running(status) && status.restart_count < SIDECAR_RESTARTS {
        return None;
    }
    let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
    let end = terminated(status).or_else(|| last_terminated(status));
    let reason = waiting.and_then(|waiting| waiting.reason.clone()).or_else(|| end.and_then(|end| end.reason.clone()));
    let says = end.and_then(|end| kept_message(end.message.as_deref()));
    let code = end.map(|end| format!("it ended with exit code {}", end.exit_code));
    let reason = reason.unwrap_or_else(|| "CrashLoopBackOff".to_owned());
    Some(of(status, &reason, says.or(code).as_deref()))
}

/// A native sidecar that has started is not in the way of the main containers.
fn crash_loop(status: &ContainerStatus) -> Option<StartProblem> {
    if status.started == Some(true) || status.name == SIDECAR_CONTAINER {
        return None;
    }
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    let last = last_terminated(status)?;
    let end = format!("it last ended with exit code {}", last.exit_code);
    let said = kept_message(waiting.message.as_deref()).map_or(end.clone(), |message| format!("{message}; {end}"));
    Some(of(status, reason, Some(&said)))
}

fn of(status: &ContainerStatus, reason: &str, message: Option<&str>) -> StartProblem {
    StartProblem {
        container: status.name.clone(),
        reason: reason.to_owned(),
        message: kept_message(message).unwrap_or_default(),
        ours: status.name == SIDECAR_CONTAINER,
    }
}
