//! The outbox protocol: the way from a Job that has ended to one that is gone, so that its outcome is delivered whatever fails in between.
//!
//! ```text
//!            record              release                sinks              retention
//! Unrecorded ───────────► Held ───────────► Delivering ──────────► Settled ───────────► gone
//! ```
//!
//! Where a Job stands follows from the cluster alone: whether its `JobOutcome` exists and what its status says, and whether our finalizer
//! is on the Job. So the leader that comes after a crash goes on where the last one ended, and an administrator sees it with kubectl. Each
//! write is repeatable, and comes only after the one before is known to have happened.

use super::step::Recorded;
use crate::{evidence::JobEvidence, outcome::OutcomeName};

/// Where a Job that has ended stands in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It has no `JobOutcome`. Our finalizer keeps its object even if it is deleted.
    Unrecorded,
    /// Its outcome is recorded, and our finalizer is still on it.
    Held,
    /// Our finalizer is gone: others may delete the Job, and its outcome is delivered all the same. jobwarden itself keeps it, because a
    /// delivery is pending.
    Delivering,
    /// Each sink has acknowledged or refused what was recorded about it, or was given up. jobwarden may delete the Job.
    Settled,
}

impl Stage {
    /// The stage of a Job whose final outcome is `outcome`.
    pub(super) fn of(job: &JobEvidence, outcome: &OutcomeName, recorded: &Recorded) -> Self {
        match (recorded.has(outcome), job.has_finalizer) {
            (false, _) => Self::Unrecorded,
            (true, true) => Self::Held,
            (true, false) if recorded.delivery_has_ended() => Self::Settled,
            (true, false) => Self::Delivering,
        }
    }
}

#[cfg(test)]
mod tests;
