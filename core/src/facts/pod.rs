//! The facts of a pod, read from the object.

use std::{num::NonZeroU64, time::Duration};

use jobwarden_common::{
    choice::Choice,
    identity::{JobUid, NodeName, PodUid},
    names::{SIDECAR_CONTAINER, annotation, label},
    notification::Cause,
};
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, PodStatus};

use self::container::{bare_id, find, has_run, is_running, is_sidecar, main_facts, restarts};
pub use self::{
    container::{ContainerHash, MainFacts},
    start::StartPhase,
};
use super::membership::Claim;
use crate::evidence::{ContainerState, PodPhase, StartProblem};

mod cause;
pub(crate) mod container;
mod memory;
mod start;
#[cfg(test)]
mod tests;

/// The annotations in which the Job controller notes the failures of an index before a pod (`batchv1.JobIndexFailureCountAnnotation`,
/// `batchv1.JobIndexIgnoredFailureCountAnnotation`).
const INDEX_FAILURE_COUNT: &str = "batch.kubernetes.io/job-index-failure-count";
const INDEX_IGNORED_FAILURE_COUNT: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// The facts of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// `metadata.uid`.
    pub uid: PodUid,
    /// `metadata.name`.
    pub name: String,
    /// The Job that controls it; the pod itself for a bare pod.
    pub job: Option<JobUid>,
    /// What it shows for being one of that Job, until the index has admitted it. `None` for a pod that no Job controls.
    pub claim: Option<Box<Claim>>,
    /// The Job that it was left behind by, if it is a pod that no Job controls any more. Boxed: few are.
    pub left_behind: Option<Box<LeftBehind>>,
    /// `status.phase`.
    pub phase: PodPhase,
    /// Its node, once it is bound.
    pub node: Option<NodeName>,
    /// Its grace period, if it is being deleted.
    pub grace: Option<Duration>,
    /// The main containers, in the order of the spec.
    pub mains: Vec<MainFacts>,
    /// The other containers that run: the sidecar, init and ephemeral ones. The sandbox has no ID in a status.
    pub others_running: Box<[ContainerHash]>,
    /// What the start of its main containers waits for.
    pub start: StartPhase,
    /// The init container of the workload that runs.
    pub initializing: Option<Box<str>>,
    /// Why a container does not start.
    pub start_problem: Option<Box<StartProblem>>,
    /// Our sidecar.
    pub sidecar: SidecarFacts,
    /// Why it failed, if it has. Boxed: few have.
    pub cause: Option<Box<Cause>>,
    /// A main container was killed for lack of memory, now or in its last run.
    pub oom_killed: bool,
    /// The memory limit of the main containers together; `None` if one of them has none.
    pub memory_limit_bytes: Option<NonZeroU64>,
    /// Every main container has ended with exit code 0, and before the pod was deleted if it is.
    pub work_done: bool,
    /// From the first start of a main container to the last end, once all have ended, by the clock of the kubelet.
    pub ran_for: Option<Duration>,
    /// How many pods of its index had failed before it, by the Job controller's note (`backoffLimitPerIndex`).
    pub earlier_failures: u32,
}

/// The Job that a pod without a controller was created for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// The namespace of both.
    pub namespace: Box<str>,
    /// The UID of the Job, as the label of the pod has it.
    pub job: JobUid,
}

/// Our sidecar in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SidecarFacts {
    /// The pod has none.
    Absent,
    /// The pod has none, and admission says why in the annotation `jobwarden.io/no-sidecar`.
    LeftOut,
    /// It has not started yet.
    NotStarted,
    /// It has started.
    Started,
}

impl PodFacts {
    /// Whether it is pending or running.
    pub fn is_live(&self) -> bool {
        matches!(self.phase, PodPhase::Pending | PodPhase::Running)
    }

    /// Why it failed; empty for a pod that has not.
    pub fn cause(&self) -> Cause {
        self.cause.as_deref().cloned().unwrap_or_default()
    }

    /// Reads a pod. `None` for a mirror pod, which is no worker whatever else it says, and for an object without name or UID, which the
    /// API server never sends.
    pub fn read(pod: &Pod) -> Option<Self> {
        if is_mirror(pod) {
            return None;
        }
        let Pod { metadata, spec, status } = pod;
        let (unset_spec, unset_status) = (PodSpec::default(), PodStatus::default());
        let (spec, status) = (spec.as_ref().unwrap_or(&unset_spec), status.as_ref().unwrap_or(&unset_status));
        let statuses = status.container_statuses.as_deref().unwrap_or_default();
        let init = spec.init_containers.as_deref().unwrap_or_default();
        let init_statuses = status.init_container_statuses.as_deref().unwrap_or_default();
        let ephemeral = status.ephemeral_container_statuses.as_deref().unwrap_or_default();

        let phase = phase(status);
        let node = spec.node_name.clone().filter(|name| !name.is_empty());
        let mains: Vec<_> = spec
            .containers
            .iter()
            .map(|main| main_facts(&main.name, find(statuses, &main.name), restarts(main, spec)))
            .collect();
        let mut inits = init.iter().filter(|container| !is_sidecar(container));
        let initializing = inits.find(|container| find(init_statuses, &container.name).is_some_and(is_running));
        let job = controlling_job(pod);
        let claim = job.as_ref().map(|job| {
            let namespace = metadata.namespace.as_deref().unwrap_or_default();
            Box::new(Claim::new(namespace, job.as_str(), metadata.labels.as_ref()))
        });
        let start = if node.is_some() && matches!(phase, PodPhase::Pending | PodPhase::Running) {
            start::phase(init, init_statuses, &mains, job.is_some())
        } else {
            StartPhase::NotStarting
        };
        let grace = metadata.deletion_timestamp.as_ref().map(|_| {
            let seconds = metadata.deletion_grace_period_seconds.unwrap_or(cause::DEFAULT_GRACE_SECONDS);
            Duration::from_secs(seconds.try_into().unwrap_or(0))
        });

        let has_started = mains.iter().any(|main| main.state != ContainerState::NotStarted);
        Some(Self {
            uid: metadata.uid.clone()?.into(),
            name: metadata.name.clone()?,
            job: job.or_else(|| is_bare(pod).then(|| metadata.uid.clone().map(Into::into))?),
            claim,
            left_behind: left_behind(pod).map(Box::new),
            phase,
            node: node.map(Into::into),
            grace,
            others_running: init_statuses
                .iter()
                .chain(ephemeral)
                .filter(|status| is_running(status))
                .filter_map(|status| Some(ContainerHash::of(bare_id(status.container_id.as_deref()?))))
                .collect(),
            start,
            initializing: initializing.map(|container| container.name.as_str().into()),
            start_problem: start::problem(status, has_started).map(Box::new),
            sidecar: sidecar(pod, init, init_statuses),
            cause: Some(cause::cause(pod, spec, status, phase)).filter(|cause| !cause.is_empty()).map(Box::new),
            oom_killed: cause::oom_killed(statuses),
            memory_limit_bytes: memory::limit_bytes(spec, statuses),
            work_done: cause::work_done(pod, &mains, statuses),
            ran_for: cause::ran_for(&mains, statuses),
            earlier_failures: earlier_failures(pod),
            mains,
        })
    }
}

fn phase(status: &PodStatus) -> PodPhase {
    match status.phase.as_deref() {
        Some("Succeeded") => PodPhase::Succeeded,
        Some("Failed") => PodPhase::Failed,
        Some("Running" | "Unknown") => PodPhase::Running,
        _ => PodPhase::Pending,
    }
}

fn controlling_job(pod: &Pod) -> Option<JobUid> {
    let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    let is_job = owner.kind == "Job" && owner.api_version.starts_with("batch/");
    is_job.then(|| owner.uid.clone().into())
}

/// A pod whose Job was deleted without it (propagation `Orphan`) has lost its owner reference, and keeps the labels of the Job controller.
fn left_behind(pod: &Pod) -> Option<LeftBehind> {
    let is_controlled = pod.metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true));
    let labels = pod.metadata.labels.as_ref().filter(|_| !is_controlled && !is_bare(pod))?;
    let job = labels.get(label::CONTROLLER_UID).or_else(|| labels.get(label::LEGACY_CONTROLLER_UID))?;
    Some(LeftBehind { namespace: pod.metadata.namespace.as_deref()?.into(), job: job.clone().into() })
}

/// As the Job controller counts them for its back-off (`getIndexAbsoluteFailureCount` in `pkg/controller/job`).
fn earlier_failures(pod: &Pod) -> u32 {
    let annotations = pod.metadata.annotations.as_ref();
    let note = |key| annotations.and_then(|all| all.get(key)?.parse::<u32>().ok()).unwrap_or(0);
    note(INDEX_FAILURE_COUNT).saturating_add(note(INDEX_IGNORED_FAILURE_COUNT))
}

/// Whether it is the kubelet's copy of a static pod. The annotation can be neither added nor removed later.
fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(annotation::MIRROR))
}

/// Whether a pod is its own Job: no Job controls it, and it opted in.
pub(super) fn is_bare(pod: &Pod) -> bool {
    let inject = pod.metadata.labels.as_ref().and_then(|labels| labels.get(label::INJECT));
    inject.is_some_and(|inject| Choice::of(inject) == Some(Choice::In))
        && controlling_job(pod).is_none()
        && !is_mirror(pod)
}

fn sidecar(pod: &Pod, init: &[Container], statuses: &[ContainerStatus]) -> SidecarFacts {
    if !init.iter().any(|container| container.name == SIDECAR_CONTAINER) {
        let annotations = pod.metadata.annotations.as_ref();
        let says_why = annotations.is_some_and(|all| all.contains_key(annotation::NO_SIDECAR));
        return if says_why { SidecarFacts::LeftOut } else { SidecarFacts::Absent };
    }
    match find(statuses, SIDECAR_CONTAINER) {
        Some(status) if is_running(status) || has_run(status) => SidecarFacts::Started,
        _ => SidecarFacts::NotStarted,
    }
}
