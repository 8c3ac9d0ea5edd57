//! Evidence: everything known of one Job and its pods at one moment. Made by `observe`, read by [`crate::judge`] and, for
//! what is to be written, by `enforce`.

use std::{sync::Arc, time::Duration};

use jobwarden_common::{
    identity::{JobId, JobUid, NodeName, PodUid, RunId},
    notification::Cause,
};

use crate::moment::Moment;

/// Everything known of one Job and its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The Job.
    pub job: JobEvidence,
    /// Its pods, finished and terminating ones included.
    pub pods: Vec<PodEvidence>,
    /// Since when this reaper has listened as the leader. What was never heard is counted from here at the earliest.
    pub listening_since: Moment,
}

/// What is known of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own; no two make a state.
pub struct JobEvidence {
    /// Who it is.
    pub identity: JobIdentity,
    /// How far it has come.
    pub stage: JobStage,
    /// `spec.suspend`.
    pub suspended: bool,
    /// `spec.managedBy` names a controller other than Kubernetes' own.
    pub managed_elsewhere: bool,
    /// Since when the open Job has no pod that is pending or running, if so.
    pub podless_since: Option<Moment>,
    /// What its own rules say about a further attempt.
    pub retries: Retries,
    /// Carries [`jobwarden_common::names::FINALIZER`].
    pub has_finalizer: bool,
    /// Has a controller among its owners (a `CronJob`, a `JobSet`, …) which will hear of its end.
    pub owned: bool,
    /// `spec.ttlSecondsAfterFinished` is set: Kubernetes deletes it, so we do not.
    pub has_ttl: bool,
    /// The promise of [`jobwarden_common::names::annotation::SAFE_TO_DUPLICATE`].
    pub safe_to_duplicate: bool,
    /// `spec.podReplacementPolicy` is `Failed`: a pod that is being deleted is neither counted nor replaced before it has ended.
    pub replaces_only_failed: bool,
    /// `status.startTime` is set: the Job controller has taken it up.
    pub started: bool,
    /// For how long it has been active, if it is.
    pub active: Option<Active>,
}

/// For how long a Job has been active: since `status.startTime`, which is set again when a suspended Job is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active {
    /// When the start time was first seen.
    pub since: Moment,
    /// How long ago it was then, by the wall clock: what makes this measure survive a restart of ours.
    pub before: Duration,
}

/// Who a Job is, to Kubernetes and to the orchestrator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobIdentity {
    /// What it is to Kubernetes.
    pub kind: JobKind,
    /// `metadata.uid`.
    pub uid: JobUid,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// The orchestrator's run, from the annotation.
    pub run_id: Option<RunId>,
    /// The orchestrator's job, from the annotation.
    pub job_id: Option<JobId>,
    /// The orchestrator's trace, from the annotation.
    pub trace_id: Option<String>,
}

/// What is judged as a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// A Job.
    Job,
    /// A pod without a Job that opted in: it is judged as a Job would be that has this one pod, no retries, and itself for an
    /// owner.
    BarePod,
}

impl JobIdentity {
    /// Whether it is a bare pod.
    pub fn is_bare(&self) -> bool {
        self.kind == JobKind::BarePod
    }
}

/// How far a Job has come, by its conditions and metadata. An earlier variant wins where several hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobStage {
    /// Condition `Complete` or `Failed` is true.
    Finished {
        /// Since when we know.
        since: Moment,
        /// What it says.
        finish: Finish,
    },
    /// The object is gone without having finished.
    Vanished,
    /// It carries a deletion timestamp.
    Deleting {
        /// The deletion leaves its pods alone (finalizer `orphan`).
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

/// What the Job's own rules say about a further attempt after one more failed pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// There will be one.
    Left,
    /// One more failed pod fails the Job (`backoffLimit`).
    Exhausted,
    /// Kubernetes decides by rules we do not second-guess (`backoffLimitPerIndex`, `podFailurePolicy`).
    LeftToKubernetes,
}

/// What is known of one pod of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvidence {
    /// `metadata.uid`.
    pub uid: PodUid,
    /// `metadata.name`.
    pub name: String,
    /// `status.phase`.
    pub phase: PodPhase,
    /// Its node, once it is bound.
    pub node: Option<NodeEvidence>,
    /// When it was first seen bound.
    pub bound_since: Option<Moment>,
    /// When a main container was first seen started.
    pub ran_since: Option<Moment>,
    /// When it was first seen to wait for a node, if it still does.
    pub unscheduled_since: Option<Moment>,
    /// When it was first seen with a deletion timestamp, and its grace period.
    pub terminating: Option<Terminating>,
    /// The containers that do the work.
    pub mains: Vec<MainContainer>,
    /// Since when nothing is awaited but the start of the main containers, while one of them has not started. A running
    /// init container of the workload's own stops this timer.
    pub starting_since: Option<Moment>,
    /// Why a container does not start, by the kubelet.
    pub start_problem: Option<StartProblem>,
    /// Our sidecar.
    pub sidecar: Sidecar,
    /// What the sidecar says.
    pub beat: LastBeat,
    /// What the node's agent says.
    pub agent: AgentObservation,
    /// When the agent last saw processes of a main container, whatever it has said since.
    pub seen_alive: Option<Moment>,
    /// When its CPU time was last seen to grow, or first seen; none if no agent has told of it.
    pub cpu_progress: Option<Moment>,
    /// Why it failed, if it has, by the kubelet.
    pub cause: Cause,
}

/// `status.phase` of a pod. `Unknown` is not set by any supported kubelet and counts as running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodPhase {
    /// Not all containers have been started once.
    Pending,
    /// At least one runs or is being restarted.
    Running,
    /// All have ended well.
    Succeeded,
    /// All have ended, one badly.
    Failed,
}

/// A pod that is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminating {
    /// When that was first seen.
    pub since: Moment,
    /// How long its containers are given.
    pub grace: Duration,
}

/// A main container by the kubelet's last word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MainContainer {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: ContainerState,
}

/// The state of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Has never run.
    NotStarted,
    /// Runs.
    Running,
    /// Has run and waits to be started again.
    WaitingToRestart,
    /// Has ended.
    Terminated,
}

/// Why a container does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartProblem {
    /// The container.
    pub container: String,
    /// The kubelet's word: `ErrImagePull`, `CreateContainerConfigError`, …
    pub reason: String,
    /// The kubelet's sentence.
    pub message: String,
    /// The container is our sidecar.
    pub ours: bool,
}

/// Our sidecar in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sidecar {
    /// The pod has none: admission missed it.
    Absent,
    /// It has not started yet.
    NotStarted,
    /// It was first seen started at this moment.
    Started(Moment),
}

/// What the sidecar of a pod says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastBeat {
    /// Nothing yet.
    None,
    /// The last beat said that the pod runs.
    Running {
        /// When it was received.
        last: Moment,
    },
    /// The last beat said that the kubelet has asked the sidecar to end.
    Ending {
        /// When it was received.
        last: Moment,
    },
}

/// What the node's agent says of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentObservation {
    /// Nothing yet.
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
    /// It has seen them and they are gone, in this many reports in a row.
    Gone {
        /// When the first of these reports was received.
        since: Moment,
        /// How many there were.
        reports: u32,
    },
}

/// What is known of a pod's node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEvidence {
    /// `metadata.name`.
    pub name: NodeName,
    /// Its zone, where its labels tell.
    pub zone: Option<Arc<str>>,
    /// Its state by the API server.
    pub state: NodeState,
    /// When a change of its Lease was last received; the start of listening if none was.
    pub lease_changed: Moment,
}

/// The state of a node by the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Condition `Ready` is true.
    Ready,
    /// Condition `Ready` is false or unknown.
    NotReady,
    /// It carries the taint `node.kubernetes.io/out-of-service`: an admin vouches that it is off.
    OutOfService {
        /// When that was first seen.
        since: Moment,
    },
    /// The object is gone.
    Deleted {
        /// When that was first seen.
        since: Moment,
    },
}

impl NodeState {
    /// Since when nothing can run on it any more, if so.
    pub fn gone_since(self) -> Option<Moment> {
        match self {
            Self::OutOfService { since } | Self::Deleted { since } => Some(since),
            Self::Ready | Self::NotReady => None,
        }
    }
}
