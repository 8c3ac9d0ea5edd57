//! One container, as the kubelet reports it.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, PodSpec};

use crate::evidence::ContainerState;

/// How much of a message is kept, in bytes. A termination message may have 4 KiB, and there may be many of them.
const MAX_MESSAGE: usize = 512;

/// The facts of a main container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MainFacts {
    /// Its name.
    pub name: Box<str>,
    /// Its state.
    pub state: ContainerState,
    /// The runtime's ID of its latest run, without the runtime's name.
    pub id: Option<Box<str>>,
    /// The ID of the run before, where the kubelet reports it.
    pub earlier_id: Option<Box<str>>,
    /// Its exit code, if it has ended and the kubelet does not restart it.
    pub exit_code: Option<i32>,
}

/// What is kept of the ID of a container that only has to be recognised among those of its pod. The ID has 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerHash(u64);

impl ContainerHash {
    /// The hash of an ID without the runtime's name.
    pub fn of(id: &str) -> Self {
        Self(BuildHasherDefault::<DefaultHasher>::new().hash_one(id))
    }
}

/// `restarts` if the kubelet restarts the container after an error.
pub(super) fn main_facts(name: &str, status: Option<&ContainerStatus>, restarts: bool) -> MainFacts {
    let exit_code = status.and_then(terminated).map(|end| end.exit_code).filter(|code| *code == 0 || !restarts);
    let last_run = status.and_then(|status| last_terminated(status)?.container_id.as_deref()).map(kept_id);
    let id = status.and_then(|status| status.container_id.as_deref()).filter(|id| !id.is_empty()).map(kept_id);
    MainFacts {
        name: name.into(),
        state: status.map_or(ContainerState::NotStarted, state),
        exit_code,
        earlier_id: last_run.filter(|earlier| Some(earlier) != id.as_ref()),
        id,
    }
}

fn state(status: &ContainerStatus) -> ContainerState {
    if is_running(status) {
        ContainerState::Running
    } else if terminated(status).is_some() {
        ContainerState::Terminated
    } else if has_run(status) {
        ContainerState::WaitingToRestart
    } else {
        ContainerState::NotStarted
    }
}

pub(crate) fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

pub(crate) fn terminated(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    status.state.as_ref()?.terminated.as_ref()
}

/// How its run before the present state ended.
pub(crate) fn last_terminated(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    status.last_state.as_ref()?.terminated.as_ref()
}

/// Whether it has run and ended, at least once.
pub(super) fn has_run(status: &ContainerStatus) -> bool {
    terminated(status).is_some() || last_terminated(status).is_some() || status.restart_count > 0
}

/// Whether the kubelet restarts a container after an error: by its own policy, by rules that jobwarden does not evaluate, or by the
/// policy of its pod.
pub(super) fn restarts(container: &Container, spec: &PodSpec) -> bool {
    let policy = container.restart_policy.as_deref().or(spec.restart_policy.as_deref());
    policy != Some("Never")
}

/// The runtime's ID without the `containerd://` that the kubelet puts before it.
pub(super) fn bare_id(id: &str) -> &str {
    id.split_once("://").map_or(id, |(_, bare)| bare)
}

fn kept_id(id: &str) -> Box<str> {
    bare_id(id).into()
}

/// The part of a message that is kept; `None` if the message is empty.
pub(super) fn kept_message(message: Option<&str>) -> Option<String> {
    let message = message?.trim();
    (!message.is_empty()).then(|| message[..message.floor_char_boundary(MAX_MESSAGE)].to_owned())
}

/// The status of a container by its name.
pub(super) fn find<'a>(statuses: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|status| status.name == name)
}

/// Whether an init container runs beside the main containers (KEP-753).
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}
