//! Verdicts: what [`crate::judge`] concludes, by which row of its table, and from which signals.

mod stuck;

use std::fmt;

use jobwarden_common::{identity::PodUid, names::reason};

use crate::{
    deadlines::Deadlines,
    evidence::{Evidence, PodEvidence},
    moment::Moment,
    policy::Policy,
    signals::Signals,
    timeouts::Timeouts,
};

pub use self::stuck::StuckState;

/// The verdicts on one Job and its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict on the Job.
    pub job: JobVerdict,
    /// The verdicts on its pods, in the order of the evidence.
    pub pods: Vec<PodJudgement>,
    /// The earliest moment at which time alone may change a verdict.
    pub recheck_at: Option<Moment>,
    /// When the Job was judged.
    pub judged_at: Moment,
}

impl StuckState {
    /// The row that matched.
    pub fn row(self) -> Row {
        match self {
            Self::Unscheduled => Row::S1,
            Self::NodeNotReady => Row::S2,
            Self::ContainerExited => Row::S3,
        }
    }
}

/// The verdict on one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodJudgement {
    /// `metadata.uid`.
    pub uid: PodUid,
    /// The verdict.
    pub verdict: PodVerdict,
    /// What keeps the pod from ending although it is not lost.
    pub stuck: Option<StuckState>,
}

/// A pod with the verdict on it.
#[derive(Clone, Copy, Debug)]
pub struct JudgedPod<'a> {
    /// The evidence.
    pub pod: &'a PodEvidence,
    /// The verdict.
    pub verdict: PodVerdict,
    /// What keeps the pod from ending although it is not lost.
    pub stuck: Option<StuckState>,
    listening_since: Moment,
    policy: &'a Policy,
    judged_at: Moment,
}

impl JudgedPod<'_> {
    /// The signals that the verdict rests on, as of the moment of the judgement. They are not computed before they are asked for:
    /// few verdicts are ever explained.
    #[inline]
    pub fn signals(&self) -> Signals {
        Deadlines::of(self.pod, self.listening_since, &Timeouts::of(self.policy)).signals(self.judged_at)
    }
}

impl Judgement {
    /// The pods of the evidence that was judged by this policy, each with the verdict on it. Also with the verdicts of a
    /// [`preview`](crate::judge::preview), the signals are those that [`judge`](crate::judge::judge) would apply.
    pub fn judged_pods<'a>(
        &'a self,
        evidence: &'a Evidence,
        policy: &'a Policy,
    ) -> impl DoubleEndedIterator<Item = JudgedPod<'a>> + ExactSizeIterator {
        let judged = |(pod, judgement): (&'a PodEvidence, &PodJudgement)| JudgedPod {
            pod,
            verdict: judgement.verdict,
            stuck: judgement.stuck,
            listening_since: evidence.listening_since,
            policy,
            judged_at: self.judged_at,
        };
        evidence.pods.iter().zip(&self.pods).map(judged)
    }

    /// The reasons of the lost pods.
    pub fn losses(&self) -> impl Iterator<Item = LostReason> {
        self.pods.iter().filter_map(|pod| pod.verdict.lost())
    }
}

/// The verdict on a Job: one for each row of the table, and `Open` where none matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobVerdict {
    /// J9: its namespace is not enrolled, or it has opted out.
    NotEnrolled,
    /// J1: it is Complete or Failed.
    Finished,
    /// J2: it is being deleted, or gone, before it finished.
    Deleted,
    /// J3: another controller manages it.
    Ignored,
    /// J4: the Job controller is ending it.
    Ending,
    /// J5: it is suspended; no timer runs.
    Paused,
    /// J7: it has run longer than its active-timeout.
    Overdue,
    /// J8: a main container has failed while another one keeps the pod running, and the policy fails the Job for it.
    ContainerFailed,
    /// J6: no pod was created for it.
    NotStarting,
    /// No row about Jobs matches: its pods decide.
    Open,
}

/// The verdict on a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodVerdict {
    /// P1: it succeeded, and the Job controller will finish the Job.
    Finishing,
    /// P1: its phase is Failed.
    AttemptFailed,
    /// P2, P3, P4, P5, P8 and, if the policy asks for them, P9, P12, P13 and P14: it is lost.
    Lost(LostReason),
    /// P3: the heartbeat sidecar prevents it from starting.
    SidecarBlocks,
    /// P6: it is stuck in termination.
    Stuck,
    /// P7: it is alive.
    Alive {
        /// Only the agent sees it alive: something is wrong with the sidecar.
        without_beat: bool,
    },
    /// P9: no signal shows it alive, although its node is healthy.
    Unseen,
    /// P10: its beat is late.
    Suspect,
    /// P11: it is not bound yet, or no signal is overdue.
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
    /// P14.
    InitTimeout,
}

impl LostReason {
    /// The reason in conditions, Events and notifications.
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
            Self::InitTimeout => reason::INIT_TIMEOUT,
        }
    }

    /// Whether the worker's processes are known to be gone, so that a replacement of the pod cannot run beside it.
    pub fn fenced(self) -> bool {
        matches!(self, Self::NodeGone | Self::ProcessGone | Self::Unschedulable)
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a Job without a lost pod is failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// J6, if the policy asks for it.
    NotStarting,
    /// J7.
    DeadlineExceeded,
    /// J8, if the policy asks for it.
    ContainerFailed,
}

impl EndReason {
    /// The reason in conditions, Events and notifications.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarting => reason::NOT_STARTING,
            Self::DeadlineExceeded => reason::DEADLINE_EXCEEDED,
            Self::ContainerFailed => reason::CONTAINER_FAILED,
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
#[allow(missing_docs, reason = "`rule` describes each row")]
pub enum Row {
    J1,
    J2,
    J3,
    J4,
    J5,
    J6,
    J7,
    J8,
    J9,
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
    P14,
    S1,
    S2,
    S3,
    S4,
}

impl Row {
    /// The rule of the row, for notifications.
    pub fn rule(self) -> &'static str {
        match self {
            Self::J1 => "the Job is Complete or Failed",
            Self::J2 => "the Job was deleted before it finished",
            Self::J3 => "the Job is managed by another controller",
            Self::J4 => "the Job controller is ending the Job",
            Self::J5 => "the Job is suspended",
            Self::J6 => "no pod was created for the open Job within start-timeout after the Job controller's back-off",
            Self::J7 => "the Job has run longer than its active-timeout",
            Self::J8 => "a main container has failed while another one keeps the pod running",
            Self::J9 => "the namespace of the Job is not enrolled, or the Job has opted out",
            Self::P1 => "the pod has Succeeded or Failed",
            Self::P2 => {
                "the node is deleted, shut down, out of service or has booted again, and there is no recent beat or agent sighting"
            }
            Self::P3 => "a main container did not start within start-timeout on a ready node",
            Self::P4 => {
                "the processes have been gone for three minutes, and the kubelet has not reported how they ended"
            }
            Self::P5 => "the worker had ended, and its node has been silent for lost-after",
            Self::P6 => {
                "the pod is still terminating after its grace period, and its processes are not known to be gone"
            }
            Self::P7 => "a fresh beat or the agent shows that the worker is alive",
            Self::P8 => "beat expired or never received, node Lease stale, agent silent or blind",
            Self::P9 => "no signal shows the worker alive although the node's Lease is fresh",
            Self::P10 => "the beat is late",
            Self::P11 => "no signal is overdue",
            Self::P12 => "the worker is alive but has used no CPU time for stall-after",
            Self::P13 => "the pod has been unscheduled for unscheduled-timeout",
            Self::P14 => "an init container has run longer than init-timeout",
            Self::S1 => "the pod has been without a node for start-timeout",
            Self::S2 => "the pod has not started for start-timeout because its node is not ready",
            Self::S3 => "a main container ended start-timeout ago, and another one keeps the pod running",
            Self::S4 => "no pod may replace the lost one before its node is back",
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
            Self::J8 => "J8",
            Self::J9 => "J9",
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
            Self::P14 => "P14",
            Self::S1 => "S1",
            Self::S2 => "S2",
            Self::S3 => "S3",
            Self::S4 => "S4",
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl JobVerdict {
    /// The row that matched; `None` for `Open`, where the pods decide.
    pub fn row(self) -> Option<Row> {
        match self {
            Self::NotEnrolled => Some(Row::J9),
            Self::Finished => Some(Row::J1),
            Self::Deleted => Some(Row::J2),
            Self::Ignored => Some(Row::J3),
            Self::Ending => Some(Row::J4),
            Self::Paused => Some(Row::J5),
            Self::Overdue => Some(Row::J7),
            Self::ContainerFailed => Some(Row::J8),
            Self::NotStarting => Some(Row::J6),
            Self::Open => None,
        }
    }
}

impl PodVerdict {
    /// The row that matched.
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
            Self::Lost(LostReason::InitTimeout) => Row::P14,
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
