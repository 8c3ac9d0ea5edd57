//! The rows about Jobs.

use super::clock::Clock;
use crate::{
    evidence::{JobEvidence, JobStage},
    policy::Policy,
    verdict::JobVerdict,
};

/// The verdict of the first row about Jobs that matches.
pub(super) fn judge_job(job: &JobEvidence, policy: &Policy, clock: &mut Clock) -> JobVerdict {
    match job.stage {
        _ if job.unenrolled_since.is_some() => JobVerdict::NotEnrolled,
        JobStage::Finished { .. } => JobVerdict::Finished,
        JobStage::Vanished | JobStage::Deleting { .. } => JobVerdict::Deleted,
        _ if job.managed_elsewhere => JobVerdict::Ignored,
        JobStage::Failing { .. } | JobStage::Succeeding => JobVerdict::Ending,
        JobStage::Open if job.suspended => JobVerdict::Paused,
        JobStage::Open if is_overdue(job, policy, clock) => JobVerdict::Overdue,
        JobStage::Open => match job.podless_since {
            Some(since) if clock.passed(since, policy.start_timeout) => JobVerdict::NotStarting,
            _ => JobVerdict::Open,
        },
    }
}

/// J7.
fn is_overdue(job: &JobEvidence, policy: &Policy, clock: &mut Clock) -> bool {
    let (Some(active), Some(timeout)) = (job.active, policy.active_timeout) else { return false };
    clock.passed(active.since, timeout.saturating_sub(active.before))
}
