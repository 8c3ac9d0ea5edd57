//! The steps that follow from a judgement: a pure function, so that it can be tested with tables.

mod context;
mod history;
mod job;
mod notice;
mod pod;
mod removal;
mod retention;

#[cfg(test)]
mod tests;

use self::context::Planner;
pub use self::retention::retained_until;
use super::step::{Recorded, Step};
use crate::{
    guard::Holds,
    moment::Moment,
    snapshot::JobSnapshot,
    verdict::{JobVerdict, Judgement},
};

/// The steps that follow at `now` from the judgement of a snapshot, in the order in which they are to be taken.
///
/// An outcome that is recorded is not recorded again. But writes to Job and pods are planned for as long as the evidence does not
/// show them: the steps themselves find out what is left to do.
pub fn plan(
    snapshot: &JobSnapshot,
    judgement: &Judgement,
    holds: &Holds,
    recorded: &Recorded,
    now: Moment,
) -> Vec<Step> {
    let mut planner = Planner::new(snapshot, judgement, holds, recorded, now);
    match judgement.job {
        JobVerdict::NotEnrolled => planner.not_enrolled(),
        JobVerdict::Finished => planner.finished(),
        JobVerdict::Deleted => planner.deleted(),
        JobVerdict::Ignored => {}
        JobVerdict::Ending => planner.ending(),
        JobVerdict::Paused => planner.clean_up_terminating_pods(),
        JobVerdict::Overdue => planner.overdue(),
        JobVerdict::ContainerFailed => planner.container_failed(),
        JobVerdict::NotStarting => planner.not_starting(),
        JobVerdict::Open => planner.open(),
    }
    planner.clear_outdated_notices();
    planner.steps
}

/// The earliest moment after `now` at which time alone may change the plan.
pub fn requeue_at(snapshot: &JobSnapshot, judgement: &Judgement, holds: &Holds, now: Moment) -> Option<Moment> {
    let retention = retained_until(snapshot);
    // A pod that has ended but still exists is a leftover from then on.
    let judged_pods = judgement.judged_pods(&snapshot.evidence, &snapshot.policy);
    let stuck = judged_pods.filter_map(|judged| judged.signals().stuck_at);
    let removals = removal::moments(snapshot, judgement);
    let warm_up = holds.warm_up_until();
    let release = job::releases_at(&snapshot.evidence.job);
    let moments = judgement.recheck_at.into_iter().chain(retention).chain(warm_up).chain(stuck).chain(removals);
    let moments = moments.chain(release);
    moments.filter(|at| *at > now).min()
}
