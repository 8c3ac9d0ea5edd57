//! Verdicts: what [`crate::judge`] concludes, and by which row of its table.

use std::fmt;

use jobwarden_common::{identity::PodUid, names::reason};

use crate::moment::Moment;

/// What is concluded of one Job and its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Of the Job.
    pub job: JobVerdict,
    /// Of each pod, in the order of the evidence.
    pub pods: Vec<(PodUid, PodVerdict)>,
    /// When time alone may change any of this; not before.
    pub recheck_at: Option<Moment>,
}

/// What is concluded of a Job; one for each row of the table, and `Open` where none matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobVerdict {
    /// J1: it is over; the cause is in its pods.
    Finished,
    /// J2: it is being deleted, or gone, before it had finished.
    Deleted,
    /// J3: another controller's.
    Ignored,
    /// J4: the Job controller is ending it.
    Ending,
    /// J5: suspended; no timer runs.
    Paused,
    /// J7: it has run longer than it may.
    Overdue,
    /// J6: no pod came.
    NotStarting,
    /// It runs: its pods decide.
    Open,
}

/// What is concluded of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodVerdict {
    /// P1: it succeeded, Kubernetes will finish the Job.
    Finishing,
    /// P1: it failed by Kubernetes' own account.
    AttemptFailed,
    /// P2, P3, P4, P5, P8 and, by choice, P9, P12 and P13: it is lost.
    Lost(LostReason),
    /// P3: our sidecar keeps it from starting.
    SidecarBlocks,
    /// P6: it does not terminate.
    Stuck,
    /// P7: it lives.
    Alive {
        /// It lives by the agent's word alone: something is wrong with the sidecar.
        without_beat: bool,
    },
    /// P9: nobody sees it, and its node is well.
    Unseen,
    /// P10: its beat is late.
    Suspect,
    /// P11: nothing is due: not bound yet, or within the time it has to be heard.
    Waiting,
}

/// Why a pod is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LostReason {
    /// P2.
    NodeGone,
    /// P3.
    ImagePullFailed,
    /// P3.
    CreateFailed,
    /// P3.
    StartTimeout,
    /// P4.
    ProcessGone,
    /// P5.
    OutcomeUnknown,
    /// P8.
    NodeUnreachable,
    /// P9.
    HeartbeatLost,
    /// P12.
    Stalled,
    /// P13.
    Unschedulable,
}

impl LostReason {
    /// The word on conditions, Events and notifications.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NodeGone => reason::NODE_GONE,
            Self::ImagePullFailed => reason::IMAGE_PULL_FAILED,
            Self::CreateFailed => reason::CREATE_FAILED,
            Self::StartTimeout => reason::START_TIMEOUT,
            Self::ProcessGone => reason::PROCESS_GONE,
            Self::OutcomeUnknown => reason::OUTCOME_UNKNOWN,
            Self::NodeUnreachable => reason::NODE_UNREACHABLE,
            Self::HeartbeatLost => reason::HEARTBEAT_LOST,
            Self::Stalled => reason::STALLED,
            Self::Unschedulable => reason::UNSCHEDULABLE,
        }
    }

    /// Whether the worker's processes are known to be gone, so that removing the pod cannot make two of it.
    pub fn fenced(self) -> bool {
        matches!(self, Self::NodeGone | Self::ProcessGone | Self::Unschedulable)
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a Job is failed that has no lost pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// J6, by choice.
    NotStarting,
    /// J7.
    DeadlineExceeded,
}

impl EndReason {
    /// The word on conditions, Events and notifications.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarting => reason::NOT_STARTING,
            Self::DeadlineExceeded => reason::DEADLINE_EXCEEDED,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A row of the decision table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // `rule` says what each is.
pub enum Row {
    J1,
    J2,
    J3,
    J4,
    J5,
    J6,
    J7,
    P1,
    P2,
    P3,
    P4,
    P5,
    P6,
    P7,
    P8,
    P9,
    P10,
    P11,
    P12,
    P13,
}

impl Row {
    /// The row's rule in a sentence, for notifications.
    pub fn rule(self) -> &'static str {
        match self {
            Self::J1 => "the Job is Complete or Failed",
            Self::J2 => "the Job was deleted before it had finished",
            Self::J3 => "the Job is managed by another controller",
            Self::J4 => "the Job controller is ending the Job",
            Self::J5 => "the Job is suspended",
            Self::J6 => "no pod was made for the open Job within start-timeout",
            Self::J7 => "the Job has run longer than its active-timeout",
            Self::P1 => "the pod has Succeeded or Failed",
            Self::P2 => "the node is deleted or out of service, and neither beat nor agent has told of life of late",
            Self::P3 => "a main container did not start within start-timeout on a ready node",
            Self::P4 => "the processes are gone while the kubelet goes on saying that they run",
            Self::P5 => "the worker had ended when its node fell silent for lost-after",
            Self::P6 => {
                "the pod terminates for longer than its grace period, and nothing tells that its processes are gone"
            }
            Self::P7 => "a fresh beat or the agent tells that the worker lives",
            Self::P8 => "beat expired or never heard, node Lease stale, agent silent or blind",
            Self::P9 => "nobody sees the worker although the node's Lease is fresh",
            Self::P10 => "the beat is late",
            Self::P11 => "nothing is due",
            Self::P12 => "the worker lives but has used no CPU time for stall-after",
            Self::P13 => "the pod has waited for a node for unscheduled-timeout",
        }
    }
}

impl Row {
    /// Its name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::J1 => "J1",
            Self::J2 => "J2",
            Self::J3 => "J3",
            Self::J4 => "J4",
            Self::J5 => "J5",
            Self::J6 => "J6",
            Self::J7 => "J7",
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
            Self::P5 => "P5",
            Self::P6 => "P6",
            Self::P7 => "P7",
            Self::P8 => "P8",
            Self::P9 => "P9",
            Self::P10 => "P10",
            Self::P11 => "P11",
            Self::P12 => "P12",
            Self::P13 => "P13",
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl JobVerdict {
    /// The row that gave it; none for `Open`, where the pods decide.
    pub fn row(self) -> Option<Row> {
        match self {
            Self::Finished => Some(Row::J1),
            Self::Deleted => Some(Row::J2),
            Self::Ignored => Some(Row::J3),
            Self::Ending => Some(Row::J4),
            Self::Paused => Some(Row::J5),
            Self::Overdue => Some(Row::J7),
            Self::NotStarting => Some(Row::J6),
            Self::Open => None,
        }
    }
}

impl PodVerdict {
    /// The row that gave it.
    pub fn row(self) -> Row {
        match self {
            Self::Finishing | Self::AttemptFailed => Row::P1,
            Self::Lost(LostReason::NodeGone) => Row::P2,
            Self::Lost(LostReason::ImagePullFailed | LostReason::CreateFailed | LostReason::StartTimeout)
            | Self::SidecarBlocks => Row::P3,
            Self::Lost(LostReason::ProcessGone) => Row::P4,
            Self::Lost(LostReason::OutcomeUnknown) => Row::P5,
            Self::Stuck => Row::P6,
            Self::Alive { .. } => Row::P7,
            Self::Lost(LostReason::NodeUnreachable) => Row::P8,
            Self::Lost(LostReason::HeartbeatLost) | Self::Unseen => Row::P9,
            Self::Lost(LostReason::Stalled) => Row::P12,
            Self::Lost(LostReason::Unschedulable) => Row::P13,
            Self::Suspect => Row::P10,
            Self::Waiting => Row::P11,
        }
    }

    /// The reason, if the pod is lost.
    pub fn lost(self) -> Option<LostReason> {
        match self {
            Self::Lost(reason) => Some(reason),
            _ => None,
        }
    }
}
