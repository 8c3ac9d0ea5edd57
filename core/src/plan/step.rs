//! The steps that enforcing is made of.

use std::collections::{BTreeMap, BTreeSet};

use jobwarden_common::{identity::PodUid, notification::OutcomeData};

use crate::{
    evidence::PodEvidence,
    outcome::OutcomeName,
    verdict::{EndReason, LostReason},
};

/// One step. Each can be repeated, and looks at the live objects before it writes.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write the verdict: have the Job controller fail the Job. On a bare pod it is a condition, and what follows from it is
    /// for us to do.
    FailJob {
        /// The pod that is lost.
        pod: PodRef,
        /// Why.
        reason: LostReason,
        /// Why, for people.
        message: String,
    },
    /// Write the verdict on a Job that has no lost pod, in the same way.
    EndJob {
        /// Why.
        reason: EndReason,
        /// Why, for people.
        message: String,
    },
    /// Make sure that the Job is really being deleted, or gone, and had not finished.
    ConfirmDeleted,
    /// Delete a pod as anybody may, with the grace it has.
    DeletePod {
        /// Which.
        pod: PodRef,
        /// What for.
        why: Removal,
    },
    /// Call a pod Failed that is terminating on a node that cannot do so.
    MarkPodFailed {
        /// Which.
        pod: PodRef,
        /// Why it is lost.
        reason: LostReason,
        /// Why, for people.
        message: String,
    },
    /// Remove the object of a pod that has ended and whose processes are known to be gone.
    ForceDeletePod {
        /// Which.
        pod: PodRef,
    },
    /// Record an outcome.
    Record(Box<Draft>),
    /// Let go of the Job: its outcome has been recorded.
    ReleaseFinalizer,
    /// Delete the finished Job.
    DeleteJob,
    /// Tell people by an Event on the Job.
    RecordEvent(Notice),
    /// What an Event has told does not hold any more: should it come again, it is told again.
    ClearNotice(NoticeKey),
    /// Have the pod's sidecar told to go silent, should it be heard again.
    Abandon(PodUid),
    /// Forget the Job: it is gone and its outcome recorded.
    Forget,
}

impl Step {
    /// The pod that the step is about; none if it is about the Job.
    pub fn pod(&self) -> Option<&PodUid> {
        match self {
            // About the Job, and what became of it.
            Self::FailJob { .. }
            | Self::EndJob { .. }
            | Self::ConfirmDeleted
            | Self::ReleaseFinalizer
            | Self::DeleteJob
            | Self::Forget => None,
            Self::DeletePod { pod, .. } | Self::MarkPodFailed { pod, .. } | Self::ForceDeletePod { pod } => {
                Some(&pod.uid)
            }
            Self::Record(draft) if draft.data.kind.is_final() => None,
            Self::Record(draft) => draft.data.attempt.as_ref().map(|attempt| &attempt.pod_uid),
            Self::RecordEvent(notice) => notice.pod.as_ref().map(|pod| &pod.uid),
            Self::ClearNotice((pod, _)) => pod.as_ref(),
            Self::Abandon(pod) => Some(pod),
        }
    }

    /// Whether it writes to a Job or a pod, which `--observe-only` forbids.
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
            Self::ConfirmDeleted | Self::Record(_) | Self::RecordEvent(_) | Self::ClearNotice(_) | Self::Forget => {
                false
            }
        }
    }

    /// The word on metrics and in logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::FailJob { .. } => "fail-job",
            Self::EndJob { .. } => "end-job",
            Self::ConfirmDeleted => "confirm-deleted",
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

/// Which pod: its name to address it, its UID to be sure.
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

/// What a pod is deleted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is lost, and its Job may try again.
    Lost,
    /// Its Job is deleted.
    JobDeleted,
    /// It is bare, and our verdict is on it.
    Failing,
}

/// An outcome that is to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Its name.
    pub name: OutcomeName,
    /// Its body, as known when it was planned.
    pub data: OutcomeData,
}

/// What an Event tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The pod it is about, if it is about one.
    pub pod: Option<PodRef>,
    /// One word; see [`jobwarden_common::names::reason`].
    pub reason: &'static str,
    /// The same for people.
    pub message: String,
}

impl Notice {
    /// What makes another notice the same.
    pub fn key(&self) -> NoticeKey {
        (self.pod.as_ref().map(|pod| pod.uid.clone()), self.reason)
    }
}

/// See [`Notice::key`].
pub type NoticeKey = (Option<PodUid>, &'static str);

/// What has been recorded and told of one Job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Its outcomes, and whether each is settled with every sink.
    pub outcomes: BTreeMap<OutcomeName, bool>,
    /// Told by an Event since this process leads, and still so when it was last looked at.
    pub notified: BTreeSet<NoticeKey>,
    /// Abandoned since this process leads.
    pub abandoned: BTreeSet<PodUid>,
}

impl Recorded {
    /// Whether this outcome exists.
    pub fn has(&self, name: &OutcomeName) -> bool {
        self.outcomes.contains_key(name)
    }

    /// Whether all outcomes that exist are settled.
    pub fn settled(&self) -> bool {
        self.outcomes.values().all(|settled| *settled)
    }
}
