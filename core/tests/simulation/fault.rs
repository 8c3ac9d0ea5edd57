//! What can go wrong, and for how long.

use std::{fmt, time::Duration};

/// A fault of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// When it begins.
    pub(crate) at: Duration,
    /// How long it lasts; for ever, or by its nature at once, if not said.
    pub(crate) lasts: Option<Duration>,
    /// What it is.
    pub(crate) what: FaultKind,
}

/// What a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum FaultKind {
    /// Of one node.
    Node(usize, NodeFault),
    /// Of one Job, or of its latest pod.
    Job(usize, JobFault),
    /// Of the whole cluster, or of the reaper.
    Cluster(ClusterFault),
}

/// What can happen to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum NodeFault {
    /// It loses power; its end is the reboot.
    Crash,
    /// Nothing of it reaches the API server or the reaper, and the other way round.
    Partition,
    /// The kubelet is stopped; containers live on.
    KubeletStopped,
    /// The kubelet renews its Lease but neither sees nor does anything.
    KubeletMute,
    /// LastBeat of its pods reach nobody: the pod network is broken, the node's own is not.
    PodNetworkBroken,
    /// The agent is not there.
    AgentGone,
    /// The agent sees nothing (`hidepid`, …).
    AgentBlind,
    /// The Node object is deleted, as a cloud does with a machine that is gone: it crashes as well.
    Deleted,
    /// An admin vouches by the taint that it is off: it crashes as well.
    OutOfService,
    /// The kubelet says that it is not ready, yet renews the Lease.
    NotReady,
}

/// What can happen to a Job or a pod of it.
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
    /// No pod can be made.
    QuotaExceeded,
    /// The worker's processes get SIGKILL.
    WorkerKilled,
    /// The kernel kills the worker for want of memory.
    OomKilled,
    /// The sidecar gets SIGKILL.
    SidecarKilled,
    /// The sidecar alone gets SIGTERM, and says that it ends.
    SidecarTerminated,
    /// A network policy keeps the sidecar's beats in the pod.
    SidecarBlocked,
    /// The kubelet loses sight of the pod: it does not see that it ends, nor that it is deleted.
    KubeletIgnoresPod,
    /// `spec.suspend`, until the end.
    Suspended,
    /// It is deleted in the background.
    Deleted,
    /// It is deleted, its pods left alone.
    Orphaned,
    /// Somebody deletes the pod.
    PodDeleted,
    /// The worker lives and uses no CPU time.
    Stalled,
}

/// What can happen to the cluster or to the reaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ClusterFault {
    /// The API server is down; whoever watches notices at once.
    ApiDown,
    /// The reapers hear nothing of the API server, and do not notice at once.
    ReaperCutOff,
    /// The Service does not lead to the reaper: no beat and no report arrives.
    ServiceBroken,
    /// The reaper's own beat does not arrive; those of others do.
    OwnBeatLost,
    /// One watch breaks off and has to list anew.
    WatchExpired(usize),
    /// The leading reaper gets SIGKILL and starts again.
    LeaderKilled,
    /// The leading reaper hands over.
    LeaderRestarted,
    /// No reaper runs.
    ReapersDown,
    /// Every sidecar falls silent in one instant, but they live.
    SidecarsSilenced,
    /// All agents are gone.
    AgentsGone,
}

impl FaultKind {
    /// What it is, whomever it befalls: for the statistics.
    pub(crate) fn kind(self) -> String {
        match self {
            Self::Node(_, what) => format!("{what:?}"),
            Self::Job(_, what) => format!("{what:?}"),
            Self::Cluster(ClusterFault::WatchExpired(_)) => "WatchExpired".to_owned(),
            Self::Cluster(what) => format!("{what:?}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, lasts, what } = self;
        match what {
            FaultKind::Node(node, what) => write!(f, "{at:?} node-{node}: {what:?}")?,
            FaultKind::Job(job, what) => write!(f, "{at:?} job-{job}: {what:?}")?,
            FaultKind::Cluster(what) => write!(f, "{at:?} {what:?}")?,
        }
        lasts.map_or(Ok(()), |lasts| write!(f, " for {lasts:?}"))
    }
}
