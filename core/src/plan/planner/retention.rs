//! How long a finished Job is kept.

use crate::{
    evidence::{Finish, JobStage},
    moment::Moment,
    plan::draft::lost_reason,
    policy::Leftover,
    snapshot::JobSnapshot,
};

/// Until when a finished Job is kept, by how it ended; `None` if it is left alone: its controller or Kubernetes deletes it.
pub fn retained_until(snapshot: &JobSnapshot) -> Option<Moment> {
    let job = &snapshot.evidence.job;
    let JobStage::Finished { since, finish } = &job.stage else { return None };
    let leftover = match finish {
        Finish::Complete => Leftover::Succeeded,
        Finish::Failed { reason, .. } if lost_reason(reason).is_some() => Leftover::Lost,
        Finish::Failed { .. } => Leftover::Failed,
    };
    (!job.owned && !job.has_ttl).then(|| *since + snapshot.policy.retention_of(leftover))
}
