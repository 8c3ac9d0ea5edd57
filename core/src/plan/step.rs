//! The steps that a plan consists of.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jobwarden_common::{
    identity::PodUid,
    notification::{NoLogs, OutcomeData},
};

use crate::{
    evidence::PodEvidence,
    moment::Moment,
    outcome::{OutcomeName, Outcomes},
    policy::Labels,
    verdict::{EndReason, LostReason},
};

/// One step. Each is idempotent and reads the live objects before it writes.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write the verdict, so that the Job controller fails the Job. On a bare pod the verdict is a condition, and jobwarden itself
    /// deletes the pod.
    FailJob {
        /// The pod that is lost.
        pod: PodRef,
        /// The reason.
        reason: LostReason,
        /// The reason in a sentence.
        message: String,
    },
    /// Write the verdict on a Job without a lost pod, in the same way.
    EndJob {
        /// The reason.
        reason: EndReason,
        /// The start time by which it was judged.
        started: Option<Timestamp>,
        /// The reason in a sentence.
        message: String,
    },
    /// Check that a pod that does not start is not kept from it by our own sidecar: a token that cannot be mounted is in Events only.
    ConfirmNotOurFault {
        /// The pod.
        pod: PodRef,
    },
    /// Check with a live read that the Job is being deleted, or gone, and had not finished.
    ConfirmDeleted,
    /// Delete a pod with its own grace period.
    DeletePod {
        /// The pod.
        pod: PodRef,
        /// Why it is deleted.
        why: Removal,
    },
    /// Set the phase of a terminating pod to Failed because its node cannot report it.
    MarkPodFailed {
        /// The pod.
        pod: PodRef,
        /// Why it is lost.
        reason: LostReason,
        /// The reason in a sentence.
        message: String,
    },
    /// Remove the object of a pod that has ended and whose processes are known to be gone.
    ForceDeletePod {
        /// The pod.
        pod: PodRef,
    },
    /// Record an outcome.
    Record(Box<Draft>),
    /// Remove our finalizer from the Job: its outcome has been recorded.
    ReleaseFinalizer,
    /// Delete the finished Job.
    DeleteJob,
    /// Record an Event on the Job.
    RecordEvent(Notice),
    /// Forget a recorded Event that is no longer true, so that it is recorded again if it becomes true again.
    ClearNotice(NoticeKey),
    /// Tell the pod's sidecar to stop if it sends another beat.
    Abandon(PodUid),
    /// Forget the Job: it is gone and its outcome has been recorded.
    Forget,
}

impl Step {
    /// The pod that the step is about; `None` if it is about the Job.
    pub fn pod(&self) -> Option<&PodUid> {
        match self {
            Self::FailJob { .. }
            | Self::EndJob { .. }
            | Self::ConfirmDeleted
            | Self::ReleaseFinalizer
            | Self::DeleteJob
            | Self::Forget => None,
            Self::ConfirmNotOurFault { pod }
            | Self::DeletePod { pod, .. }
            | Self::MarkPodFailed { pod, .. }
            | Self::ForceDeletePod { pod } => Some(&pod.uid),
            Self::Record(draft) if draft.data.kind.is_final() => None,
            Self::Record(draft) => draft.data.attempt.as_ref().map(|attempt| &attempt.pod_uid),
            Self::RecordEvent(notice) => notice.pod.as_ref().map(|pod| &pod.uid),
            Self::ClearNotice((pod, _)) => pod.as_ref(),
            Self::Abandon(pod) => Some(pod),
        }
    }

    /// Whether the step writes to a Job or a pod, which `--observe-only` forbids.
    pub fn writes_workload(&self) -> bool {
        match self {
            Self::FailJob { .. }
            | Self::EndJob { .. }
            | Self::DeletePod { .. }
            | Self::MarkPodFailed { .. }
            | Self::ForceDeletePod { .. }
            | Self::ReleaseFinalizer
            | Self::DeleteJob
            | Self::Abandon(_) => true,
            Self::ConfirmDeleted
            | Self::ConfirmNotOurFault { .. }
            | Self::Record(_)
            | Self::RecordEvent(_)
            | Self::ClearNotice(_)
            | Self::Forget => false,
        }
    }

    /// The name in metrics and logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::FailJob { .. } => "fail-job",
            Self::EndJob { .. } => "end-job",
            Self::ConfirmDeleted => "confirm-deleted",
            Self::ConfirmNotOurFault { .. } => "confirm-not-our-fault",
            Self::DeletePod { .. } => "delete-pod",
            Self::MarkPodFailed { .. } => "mark-pod-failed",
            Self::ForceDeletePod { .. } => "force-delete-pod",
            Self::Record(_) => "record",
            Self::ReleaseFinalizer => "release-finalizer",
            Self::DeleteJob => "delete-job",
            Self::RecordEvent(_) => "record-event",
            Self::ClearNotice(_) => "clear-notice",
            Self::Abandon(_) => "abandon",
            Self::Forget => "forget",
        }
    }
}

/// A reference to a pod: the name addresses it, the UID makes sure that it is the same pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    /// `metadata.uid`.
    pub uid: PodUid,
    /// `metadata.name`.
    pub name: String,
}

impl From<&PodEvidence> for PodRef {
    fn from(pod: &PodEvidence) -> Self {
        Self { uid: pod.uid.clone(), name: pod.name.clone() }
    }
}

/// Why a pod is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is lost, and its Job may retry.
    Lost,
    /// Its Job is deleted.
    JobDeleted,
    /// It is a bare pod that carries our verdict.
    Failing,
}

/// An outcome to record.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Its name.
    pub name: OutcomeName,
    /// Its body, as of when it was planned.
    pub data: OutcomeData,
    /// The labels of the Job, by which the filters of sinks select.
    pub labels: Labels,
    /// Whether the last log lines of the attempt belong to it.
    pub logs: LogPlan,
}

/// Whether an outcome has the last log lines of its attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogPlan {
    /// It has none: it is not about an end, or the policy says so.
    #[default]
    Omit,
    /// It has them if they can be read in time.
    Read,
    /// It would have them, but they cannot be read.
    Unavailable(NoLogs),
}

/// The content of an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The pod that it is about; `None` if it is about the Job.
    pub pod: Option<PodRef>,
    /// The CamelCase reason; see [`jobwarden_common::names::reason`].
    pub reason: &'static str,
    /// The message for people.
    pub message: String,
}

impl Notice {
    /// The key by which a notice is recorded once.
    pub fn key(&self) -> NoticeKey {
        (self.pod.as_ref().map(|pod| pod.uid.clone()), self.reason)
    }
}

/// The pod and the reason of a notice.
pub type NoticeKey = (Option<PodUid>, &'static str);

/// The outcomes and Events of one Job that have been recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Its outcomes, and for each whether its delivery to every sink has ended.
    pub outcomes: Outcomes,
    /// Events recorded since this process became the leader, which were still true at the last evaluation.
    pub notified: BTreeSet<NoticeKey>,
    /// Pods abandoned since this process became the leader.
    pub abandoned: BTreeSet<PodUid>,
    /// What the API server answered to the last write about a pod, or about the Job if `None`, where it refused the write for good: a
    /// policy, a quota or a missing permission.
    pub refused: BTreeMap<Option<PodUid>, String>,
    /// The pods that our own sidecar keeps from starting by what their Events say, and what that is.
    pub sidecar_faults: BTreeMap<PodUid, String>,
    /// The latest moment at which any Job was evaluated. Where an outage is noticed late, the clock is set back behind it, and what was
    /// silent by then looks younger for a while.
    pub judged_until: Moment,
}

impl Recorded {
    /// Whether this outcome is recorded.
    pub fn has(&self, name: &OutcomeName) -> bool {
        self.outcomes.contains_key(name)
    }

    /// Whether every recorded outcome was acknowledged by every sink, or its delivery was abandoned.
    pub fn delivery_has_ended(&self) -> bool {
        self.outcomes.values().all(|has_ended| *has_ended)
    }
}
