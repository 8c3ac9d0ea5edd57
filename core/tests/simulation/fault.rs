//! Faults: what can go wrong, and for how long.

use std::{fmt, time::Duration};

/// A fault of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// When it begins.
    pub(crate) at: Duration,
    /// How long it lasts; `None` if it never ends, or is over at once by its nature.
    pub(crate) lasts: Option<Duration>,
    /// What goes wrong.
    pub(crate) kind: FaultKind,
}

/// What goes wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum FaultKind {
    /// On one node.
    Node(usize, NodeFault),
    /// In one Job, or in its latest pod.
    Job(usize, JobFault),
    /// In the whole cluster, or in the reaper.
    Cluster(ClusterFault),
}

/// Faults of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum NodeFault {
    /// The node loses power. The end of the fault is a reboot.
    Crash,
    /// The node reaches neither the API server nor the reaper, and they do not reach the node.
    Partition,
    /// The kubelet is stopped; containers keep running.
    KubeletStopped,
    /// The kubelet renews its Lease but observes nothing and does nothing else.
    KubeletMute,
    /// No beat of its pods arrives: the pod network is broken, the host network is not.
    PodNetworkBroken,
    /// The agent does not run.
    AgentGone,
    /// The agent sees no process (`hidepid`, …).
    AgentBlind,
    /// The Node object is deleted, as a cloud provider does with a terminated machine. The node is powered off.
    Deleted,
    /// An admin sets the taint `out-of-service`. The node is powered off.
    OutOfService,
    /// The machine is shut down, and the cloud provider says so by a taint once the node is not ready.
    ShutDown,
    /// The kubelet reports itself not ready, and renews the Lease.
    NotReady,
}

/// Faults of a Job or of its latest pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum JobFault {
    /// The image of a main container cannot be pulled.
    ImageMissing,
    /// A main container cannot be created.
    ConfigMissing,
    /// The image of our sidecar cannot be pulled.
    SidecarImageMissing,
    /// No pod can be scheduled.
    Unschedulable,
    /// No pod can be created: the quota is exceeded.
    QuotaExceeded,
    /// The worker's processes get SIGKILL.
    WorkerKilled,
    /// The kernel OOM-kills the worker.
    OomKilled,
    /// The sidecar gets SIGKILL.
    SidecarKilled,
    /// The sidecar alone gets SIGTERM, and sends its last beat.
    SidecarTerminated,
    /// A network policy blocks the sidecar's beats.
    SidecarBlocked,
    /// The kubelet does nothing for the pod: it reports neither its end, nor does it act on its deletion.
    KubeletIgnoresPod,
    /// `spec.suspend` is true, until the end of the fault.
    Suspended,
    /// `spec.parallelism` is 1, until the end of the fault.
    ScaledDown,
    /// The Job is deleted with background propagation.
    Deleted,
    /// The Job is deleted with orphan propagation.
    Orphaned,
    /// A user deletes the pod.
    PodDeleted,
    /// The worker's processes run and use no CPU time.
    Stalled,
    /// The API server refuses what the reaper writes to the Job and its pods: a policy engine, or a missing permission.
    WritesRefused,
    /// The Job opts out, until the end of the fault.
    OptsOut,
    /// Somebody removes our label from it.
    LabelRemoved,
    /// Both at once, by one patch.
    OptsOutWithoutLabel,
    /// Somebody creates a pod that names it as its controller.
    PodForged(Forgery),
}

/// What a pod with a forged owner lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Forgery {
    /// It stands in another namespace.
    Namespace,
    /// It has not the label of the Job controller.
    Label,
}

/// Faults of the cluster or of the reaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ClusterFault {
    /// The API server is down. Every client detects it at once.
    ApiDown,
    /// The reapers do not reach the API server, and do not detect it at once.
    ReaperCutOff,
    /// The Service does not route to the reaper: no beat and no report arrives.
    ServiceBroken,
    /// The reaper's own beat does not arrive; other beats do.
    OwnBeatLost,
    /// One watch is closed and has to list again.
    WatchExpired(usize),
    /// The leading reaper gets SIGKILL and is restarted.
    LeaderKilled,
    /// The leading reaper is shut down in order and restarted.
    LeaderRestarted,
    /// No reaper runs.
    ReapersDown,
    /// Every sidecar stops sending at once, but keeps running.
    SidecarsSilenced,
    /// No agent runs.
    AgentsGone,
    /// A namespace is not enrolled, until the end of the fault.
    NamespaceLeft(usize),
}

impl FaultKind {
    /// Its name, without the object that it is about.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Node(_, kind) => format!("{kind:?}"),
            Self::Job(_, JobFault::PodForged(_)) => "PodForged".to_owned(),
            Self::Job(_, kind) => format!("{kind:?}"),
            Self::Cluster(ClusterFault::WatchExpired(_)) => "WatchExpired".to_owned(),
            Self::Cluster(ClusterFault::NamespaceLeft(_)) => "NamespaceLeft".to_owned(),
            Self::Cluster(kind) => format!("{kind:?}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, lasts, kind } = self;
        match kind {
            FaultKind::Node(node, kind) => write!(f, "{at:?} node-{node}: {kind:?}")?,
            FaultKind::Job(job, kind) => write!(f, "{at:?} job-{job}: {kind:?}")?,
            FaultKind::Cluster(kind) => write!(f, "{at:?} {kind:?}")?,
        }
        lasts.map_or(Ok(()), |lasts| write!(f, " for {lasts:?}"))
    }
}
