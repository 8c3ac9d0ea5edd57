//! The state of a Job.

use std::{collections::BTreeMap, time::Duration};

use jobwarden_common::identity::JobUid;
use jobwarden_core::outcome::OutcomeName;

use super::pod::backoff;
use crate::dice::Dice;

/// `metadata.uid` of a Job.
pub(crate) fn job_uid(job: usize) -> JobUid {
    format!("job-{job}").into()
}

/// A Job.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Job {
    /// `metadata.uid`.
    pub(crate) uid: JobUid,
    /// The object exists.
    pub(crate) exists: bool,
    /// It carries the finalizer of jobwarden.
    pub(crate) finalizer: bool,
    /// It carries a deletion timestamp.
    pub(crate) deleting: bool,
    /// It is deleted with orphan propagation.
    pub(crate) orphaning: bool,
    /// `status.startTime`; the same on the clock of [`super::signal_clock`].
    pub(crate) started: Option<(Duration, i64)>,
    /// The condition `Suspended` is true: the controller has suspended the Job and has not resumed it since.
    pub(crate) is_suspended: bool,
    /// The condition that ends it.
    pub(crate) ending: Option<Ending>,
    /// When the first of them was written.
    pub(crate) ending_since: Option<Duration>,
    /// `status.active`. Changes of it alone are not published: no watcher reads it.
    pub(crate) active: usize,
    /// `status.failed`.
    pub(crate) failed: usize,
    /// `status.succeeded`.
    pub(crate) succeeded: usize,
    /// When a pod last failed, and how many have since one last succeeded.
    pub(crate) last_failure: Duration,
    pub(crate) failures_in_row: usize,
    /// Its pods, in the order of their creation.
    pub(crate) attempts: Vec<usize>,
    /// Its outcomes that exist, and whether each is settled.
    pub(crate) outcomes: BTreeMap<OutcomeName, bool>,
    /// How many faults cause each of these.
    pub(crate) suspended: u32,
    pub(crate) scaled_down: u32,
    pub(crate) unschedulable: u32,
    pub(crate) over_quota: u32,
    pub(crate) image_missing: u32,
    pub(crate) config_missing: u32,
    pub(crate) sidecar_missing: u32,
    pub(crate) writes_refused: u32,
    pub(crate) opted_out: u32,
    /// It carries our label, by which it is watched.
    pub(crate) labelled: bool,
    /// When it was last decided whether it can be observed, on the clock of [`super::signal_clock`].
    pub(crate) enrolment_changed_at: i64,
    /// A sync is scheduled.
    pub(crate) sync_pending: bool,
    pub(crate) dice: Dice,
}

/// The conditions of a Job that is ending or has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// `SuccessCriteriaMet`.
    Succeeding,
    /// `Complete`.
    Complete,
    /// `FailureTarget`, with a reason.
    Failing(String),
    /// `Failed`, with a reason.
    Failed(String),
}

impl Job {
    pub(crate) fn new(number: usize, seed: u64) -> Self {
        Self {
            uid: job_uid(number),
            exists: false,
            finalizer: true,
            deleting: false,
            orphaning: false,
            started: None,
            is_suspended: false,
            ending: None,
            ending_since: None,
            active: 0,
            failed: 0,
            succeeded: 0,
            last_failure: Duration::ZERO,
            failures_in_row: 0,
            attempts: Vec::new(),
            outcomes: BTreeMap::new(),
            suspended: 0,
            scaled_down: 0,
            unschedulable: 0,
            over_quota: 0,
            image_missing: 0,
            config_missing: 0,
            sidecar_missing: 0,
            writes_refused: 0,
            opted_out: 0,
            labelled: true,
            enrolment_changed_at: 0,
            sync_pending: false,
            dice: Dice::of(seed, [3, number as u64, 0]),
        }
    }

    /// When the Job controller may create the next pod.
    pub(crate) fn may_create_from(&self) -> Duration {
        if self.failures_in_row == 0 { Duration::ZERO } else { self.last_failure + self.back_off() }
    }

    /// How long it waits after the last failure.
    pub(crate) fn back_off(&self) -> Duration {
        backoff(self.failures_in_row)
    }

    pub(crate) fn has_finished(&self) -> bool {
        matches!(self.ending, Some(Ending::Complete | Ending::Failed(_)))
    }
}
