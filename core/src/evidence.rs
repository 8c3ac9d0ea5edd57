//! Evidence: everything that is known about one Job and its pods at one moment. [`crate::index`] produces it; [`crate::judge`] and
//! [`crate::plan`](mod@crate::plan) read it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use jobwarden_common::{
    identity::{JobId, JobUid, NodeName, PodUid, RunId},
    notification::Cause,
};

use crate::moment::Moment;

/// Everything that is known about one Job and its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The Job.
    pub job: JobEvidence,
    /// Its pods, including finished and terminating ones.
    pub pods: Vec<PodEvidence>,
    /// Since when this reaper receives beats and reports as the leader: since the end of the last time in which it did not.
    /// [`Moment::NEVER`] while it does not. A beat or a report is missing from here on at the earliest.
    pub listening_since: Moment,
}

/// What is known about a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own; no two make a state")]
pub struct JobEvidence {
    /// Its identity.
    pub identity: JobIdentity,
    /// Its stage.
    pub stage: JobStage,
    /// `spec.suspend`.
    pub suspended: bool,
    /// `spec.managedBy` names a controller other than the built-in Job controller.
    pub managed_elsewhere: bool,
    /// Since when its namespace is not enrolled, or it has opted out; `None` if it is observed.
    pub unenrolled_since: Option<Moment>,
    /// Since when the Job controller should have created a pod for the open Job; `None` if the Job has a pending or running one. The
    /// moment is in the future while the Job controller backs off after a failure.
    pub podless_since: Option<Moment>,
    /// How many pods the Job controller wants to run.
    pub wanted_pods: u32,
    /// Whether its own rules allow another attempt.
    pub retries: Retries,
    /// It carries [`jobwarden_common::names::FINALIZER`].
    pub has_finalizer: bool,
    /// A controller owns it (a `CronJob`, a `JobSet`, …), which reacts to its end.
    pub owned: bool,
    /// `spec.ttlSecondsAfterFinished` is set: Kubernetes deletes the Job, so jobwarden does not.
    pub has_ttl: bool,
    /// It carries [`jobwarden_common::names::annotation::SAFE_TO_DUPLICATE`].
    pub safe_to_duplicate: bool,
    /// `spec.podReplacementPolicy` is `Failed`: a pod that is being deleted is neither counted nor replaced before it has ended.
    pub replaces_only_failed: bool,
    /// `status.startTime` is set: the Job controller has started it.
    pub started: bool,
    /// How long it has been active; `None` if it is not.
    pub active: Option<Active>,
}

/// For how long a Job has been active: since `status.startTime`, which is set again when a suspended Job is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active {
    /// `status.startTime`. The second look reads it again.
    pub start: Timestamp,
    /// When the start time was first observed.
    pub since: Moment,
    /// The age of the start time when it was first observed, by the clock of the API server. With it the measure survives a restart of the
    /// reaper.
    pub before: Duration,
}

/// The identity of a Job in Kubernetes and in the orchestrator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobIdentity {
    /// The kind of object.
    pub kind: JobKind,
    /// `metadata.uid`.
    pub uid: JobUid,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// The run ID of the orchestrator, from the annotation.
    pub run_id: Option<RunId>,
    /// The job ID of the orchestrator, from the annotation.
    pub job_id: Option<JobId>,
    /// The trace ID of the orchestrator, from the annotation.
    pub trace_id: Option<String>,
}

/// The kind of object that is judged as a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// A Job.
    Job,
    /// A pod without a Job that opted in. It is judged like a Job that has this one pod, no retries and an owner.
    BarePod,
}

/// The longest ID of the orchestrator, in bytes. A tenant may write any number of them into an annotation.
const MAX_ID_BYTES: usize = 1024;

impl JobIdentity {
    /// Leaves out IDs that are too long to be kept: a part of an ID would name another job.
    pub(crate) fn bound(&mut self) {
        self.run_id.take_if(|id| id.as_str().len() > MAX_ID_BYTES);
        self.job_id.take_if(|id| id.as_str().len() > MAX_ID_BYTES);
        self.trace_id.take_if(|id| id.len() > MAX_ID_BYTES);
    }

    /// Whether it is a bare pod.
    pub fn is_bare(&self) -> bool {
        self.kind == JobKind::BarePod
    }
}

/// The stage of a Job by its conditions and metadata. If several variants apply, the first one is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobStage {
    /// Condition `Complete` or `Failed` is true.
    Finished {
        /// When that was first observed.
        since: Moment,
        /// How it finished.
        finish: Finish,
    },
    /// The object is gone, and the Job had not finished.
    Vanished,
    /// It carries a deletion timestamp.
    Deleting {
        /// The deletion orphans its pods (finalizer `orphan`).
        orphaning: bool,
    },
    /// Condition `FailureTarget` is true: the Job controller is failing it.
    Failing {
        /// The condition's reason.
        reason: String,
        /// The condition's message.
        message: String,
    },
    /// Condition `SuccessCriteriaMet` is true: the Job controller is completing it.
    Succeeding,
    /// None of these.
    Open,
}

/// How a Job finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Condition `Complete`.
    Complete,
    /// Condition `Failed`.
    Failed {
        /// The condition's reason.
        reason: String,
        /// The condition's message.
        message: String,
    },
}

/// Whether the Job's own rules allow another attempt after one more failed pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// They do.
    Left,
    /// One more failed pod fails the Job (`backoffLimit`).
    Exhausted,
    /// The Job controller decides by rules that jobwarden does not evaluate (`backoffLimitPerIndex`, `podFailurePolicy`).
    LeftToKubernetes,
}

/// What is known about one pod of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvidence {
    /// `metadata.uid`.
    pub uid: PodUid,
    /// `metadata.name`.
    pub name: String,
    /// `status.phase`.
    pub phase: PodPhase,
    /// Its node; `None` if it is not bound.
    pub node: Option<NodeEvidence>,
    /// When it was first observed bound.
    pub bound_since: Option<Moment>,
    /// When a main container was first observed started.
    pub ran_since: Option<Moment>,
    /// When it was first observed unscheduled; `None` if it no longer is.
    pub unscheduled_since: Option<Moment>,
    /// Its termination; `None` if it has no deletion timestamp.
    pub terminating: Option<Terminating>,
    /// The containers that do the work, as opposed to sidecars and init containers.
    pub mains: Vec<MainContainer>,
    /// Since when only the start of the main containers is outstanding, on a node that is ready; `None` if all have started. While an
    /// init container of the workload runs, this timer is reset; while a native sidecar of it warms up, the timer stands still.
    pub starting_since: Option<Moment>,
    /// The init container of the workload that runs, and since when.
    pub initializing: Option<Initializing>,
    /// A main container that has ended while another one keeps the pod running: one that has failed, if there is one.
    pub exited: Option<ExitedContainer>,
    /// Since when the node is known to have booted again, while the pod still has the containers of before by its status and no signal
    /// of it has arrived since.
    pub rebooted: Option<Moment>,
    /// Why a container does not start, as the kubelet reports it.
    pub start_problem: Option<StartProblem>,
    /// The heartbeat sidecar.
    pub sidecar: Sidecar,
    /// The last beat of the sidecar.
    pub beat: LastBeat,
    /// The last report of the node's agent.
    pub agent: AgentObservation,
    /// When the agent last saw processes of a main container, whatever it has reported since.
    pub seen_alive: Option<Moment>,
    /// When its CPU time last grew, or was first reported; `None` if no agent has reported it.
    pub cpu_progress: Option<Moment>,
    /// Why it failed, as the kubelet reports it.
    pub cause: Cause,
    /// Every main container ended with exit code 0 before the pod was deleted, if it was.
    pub work_done: bool,
}

impl PodEvidence {
    /// Whether its phase is `Succeeded` or `Failed`.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, PodPhase::Succeeded | PodPhase::Failed)
    }
}

/// `status.phase` of a pod. `Unknown` is not set by any supported kubelet and counts as running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodPhase {
    /// Some containers have never started.
    Pending,
    /// At least one container runs or is being restarted.
    Running,
    /// All containers have ended with exit code 0.
    Succeeded,
    /// All containers have ended, at least one of them with an error.
    Failed,
}

/// A pod that is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminating {
    /// When that was first observed.
    pub since: Moment,
    /// Its grace period.
    pub grace: Duration,
}

/// A main container, as the kubelet last reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MainContainer {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: ContainerState,
}

/// An init container that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initializing {
    /// Its name.
    pub container: Box<str>,
    /// When it was first observed running.
    pub since: Moment,
}

/// A main container that has ended and is not restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitedContainer {
    /// Its name.
    pub container: Box<str>,
    /// Its exit code.
    pub exit_code: i32,
    /// When it was first observed that a main container has ended while another one keeps the pod running.
    pub since: Moment,
}

/// The state of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// It has never run.
    NotStarted,
    /// It runs.
    Running,
    /// It has run and waits to be restarted.
    WaitingToRestart,
    /// It has ended.
    Terminated,
}

/// Why a container does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartProblem {
    /// The container.
    pub container: String,
    /// The kubelet's reason: `ErrImagePull`, `CreateContainerConfigError`, …
    pub reason: String,
    /// The kubelet's message.
    pub message: String,
    /// The container is the heartbeat sidecar.
    pub ours: bool,
}

/// The heartbeat sidecar in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sidecar {
    /// The pod has none: it was not injected at admission.
    Absent,
    /// The pod has none on purpose: admission left it out because it would harm the pod, and says why in the annotation
    /// `jobwarden.io/no-sidecar`.
    LeftOut,
    /// It has not started yet.
    NotStarted,
    /// It was first observed started at this moment.
    Started(Moment),
}

/// The last beat of the sidecar of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastBeat {
    /// None yet.
    None,
    /// The last beat said that the pod runs.
    Running {
        /// When it was received.
        last: Moment,
    },
    /// The last beat said that the kubelet has asked the sidecar to stop.
    Ending {
        /// When it was received.
        last: Moment,
    },
}

/// The last report of the node's agent about a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentObservation {
    /// None yet.
    None,
    /// It cannot see this pod.
    Blind {
        /// When its last report was received.
        last: Moment,
    },
    /// It sees processes of a main container.
    Alive {
        /// When its last report was received.
        last: Moment,
    },
    /// It saw processes earlier and sees none now.
    Gone {
        /// When the first of these reports was received.
        since: Moment,
        /// How many consecutive reports there were.
        reports: u32,
    },
}

impl AgentObservation {
    /// Since when the processes are known to be gone: since the first of at least `reports_needed` reports.
    pub(crate) fn gone_since(self, reports_needed: u32) -> Option<Moment> {
        match self {
            Self::Gone { since, reports } if reports >= reports_needed => Some(since),
            _ => None,
        }
    }
}

/// What is known about the node of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEvidence {
    /// `metadata.name`.
    pub name: NodeName,
    /// Its zone; `None` if it has no zone label.
    pub zone: Option<Arc<str>>,
    /// Its state according to the API server.
    pub state: NodeState,
    /// The scheduler places no further pod on it, unless the pod tolerates that.
    pub avoided: bool,
    /// When a change of its Lease was last received; if none was, when this reaper began to receive signals.
    pub lease_changed: Moment,
    /// Since when its Lease has changed without a pause of [`LEASE_STALE_AFTER_LEAST`](crate::judge::LEASE_STALE_AFTER_LEAST); if it
    /// always has, since this reaper began to receive signals.
    pub lease_steady_since: Moment,
}

/// The state of a node according to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Condition `Ready` is true.
    Ready,
    /// Condition `Ready` is false or unknown.
    NotReady,
    /// It carries the taint `node.kubernetes.io/out-of-service`: an administrator confirms that it is shut down.
    OutOfService {
        /// When that was first observed.
        since: Moment,
    },
    /// It is not ready and carries the taint `node.cloudprovider.kubernetes.io/shutdown`: the cloud provider reports that its machine is
    /// shut down.
    ShutDown {
        /// When that was first observed.
        since: Moment,
    },
    /// The object is gone.
    Deleted {
        /// When that was first observed.
        since: Moment,
    },
}

impl NodeState {
    /// Since when nothing can run on the node; `None` if something may.
    pub fn gone_since(self) -> Option<Moment> {
        match self {
            Self::OutOfService { since } | Self::ShutDown { since } | Self::Deleted { since } => Some(since),
            Self::Ready | Self::NotReady => None,
        }
    }
}
