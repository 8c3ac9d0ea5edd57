//! The second look: what the live objects must say before anything is written.

use jobwarden_core::enforce::PodRef;

use crate::{kubernetes::job_controller::Ending, world::World};

/// Why a step is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecondLook {
    /// The API server cannot be reached.
    Unreachable,
    /// The live objects say otherwise.
    Otherwise,
}

impl World<'_> {
    /// The Job is open, and such as may be failed.
    pub(super) fn look_at_open_job(&self, job: usize) -> Result<(), SecondLook> {
        let it = &self.jobs[job];
        let over = matches!(it.ending, Some(Ending::Complete | Ending::Failed(_) | Ending::Succeeding));
        let elsewhere = self.history.jobs[job].managed_elsewhere;
        if it.exists && !over && it.suspended == 0 && !elsewhere && it.started.is_some() {
            Ok(())
        } else {
            Err(SecondLook::Otherwise)
        }
    }

    pub(super) fn live_pod(&self, pod: &PodRef) -> Option<usize> {
        self.pods.iter().position(|it| it.uid == pod.uid).filter(|&pod| self.pods[pod].exists)
    }

    /// The pod has not ended, and is the Job's.
    pub(super) fn is_in_question(&self, job: usize, pod: usize) -> Result<(), SecondLook> {
        let it = &self.pods[pod];
        if it.is_open() && it.owned && it.job == job { Ok(()) } else { Err(SecondLook::Otherwise) }
    }
}
