//! The policy: the timeouts by which a Job is judged, and what is done about a loss.
//!
//! A policy is merged from layers, each of which overrides single values of the layers before: the command line, the configuration
//! file, its rules, the annotations of the namespace and those of the Job. What annotations set is kept within the administrator's limits. See `docs/policy.md`.

use std::time::Duration;

pub use self::{
    choices::{NotStarting, OnContainerExit, OnLost, UnknownWord, Unseen},
    file::{FilePolicy, Preset, Rule},
    labels::Labels,
    layers::{Effective, Policies},
    limits::{BeyondLimit, PolicyLimits},
    retention::Leftover,
    setting::{BadSetting, Changes, Origin, Origins, PolicyField, Setting},
};

mod choices;
mod file;
mod labels;
mod layers;
mod limits;
mod retention;
mod setting;

/// The timeouts by which one Job is judged, and what is done about a loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A beat older than this is late.
    pub suspect_after: Duration,
    /// A beat older than this has expired.
    pub lost_after: Duration,
    /// How long a bound pod may take to start its main containers, and an open Job to have a live pod.
    pub start_timeout: Duration,
    /// How long a pod may wait for a node; `None` is for ever.
    pub unscheduled_timeout: Option<Duration>,
    /// How long a Job may run, by its start time; `None` is for ever.
    pub active_timeout: Option<Duration>,
    /// How long a worker may live without using CPU time; `None` is for ever.
    pub stall_after: Option<Duration>,
    /// How long an init container may run; `None` is for ever.
    pub init_timeout: Option<Duration>,
    /// How long a Job waits for a node that is away to end its lost pod, if no other pod may be created before; `None` is until the
    /// node is back.
    pub stranded_after: Option<Duration>,
    /// What is done about a lost pod.
    pub on_lost: OnLost,
    /// What is done about a pod without any signal on a healthy node.
    pub unseen: Unseen,
    /// What is done about an open Job that gets no pod.
    pub not_starting: NotStarting,
    /// What is done when a main container has failed while another one keeps the pod running.
    pub on_container_exit: OnContainerExit,
    /// How long a finished Job is kept before it is deleted, unless one of the four below says otherwise; see [`Policy::retention_of`].
    pub retention: Duration,
    /// How long one is kept that completed.
    pub retention_succeeded: Option<Duration>,
    /// How long one is kept that failed.
    pub retention_failed: Option<Duration>,
    /// How long one is kept that failed because a pod of it was lost.
    pub retention_lost: Option<Duration>,
    /// How long an ended pod is kept whose Job was deleted without it.
    pub retention_orphaned: Option<Duration>,
    /// Whether the orchestrator is notified of late beats.
    pub notify_late: bool,
    /// Whether notifications have the last log lines, if the administrator has turned that on.
    pub include_logs: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            suspect_after: Duration::from_secs(30),
            lost_after: Duration::from_mins(2),
            start_timeout: Duration::from_mins(10),
            unscheduled_timeout: None,
            active_timeout: None,
            stall_after: None,
            init_timeout: None,
            stranded_after: Some(Duration::from_mins(10)),
            on_lost: OnLost::Retry,
            unseen: Unseen::Report,
            not_starting: NotStarting::Report,
            on_container_exit: OnContainerExit::Wait,
            retention: Duration::from_hours(1),
            retention_succeeded: None,
            retention_failed: None,
            retention_lost: None,
            retention_orphaned: None,
            notify_late: false,
            include_logs: true,
        }
    }
}

impl Policy {
    /// How long signals may be missing before the breaker counts a loss as imminent.
    ///
    /// That is at most half of lost-after: Jobs whose signals stopped together have deadlines that lie apart by a beat and a renewal of
    /// the Lease, and all of them are counted before the first one is lost.
    pub fn quiet(&self) -> Duration {
        self.suspect_after.min(self.lost_after / 2)
    }

    /// The same policy with shorter timeouts: what is lost by it will be lost soon if no further signal arrives.
    #[must_use]
    pub fn for_preview(&self) -> Self {
        let quiet = self.quiet();
        let ahead = self.lost_after.saturating_sub(quiet);
        // At most by half: with a short timeout, a loss would otherwise be imminent as soon as the wait begins.
        let sooner = |after: Duration| after.saturating_sub(ahead).max(after / 2);
        Self {
            suspect_after: quiet,
            lost_after: quiet,
            start_timeout: sooner(self.start_timeout),
            unscheduled_timeout: self.unscheduled_timeout.map(sooner),
            stall_after: self.stall_after.map(sooner),
            init_timeout: self.init_timeout.map(sooner),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::default(120, 30, 30)]
    #[case::short(30, 30, 15)]
    #[case::suspicious(120, 5, 5)]
    fn quiet_is_suspect_after_and_at_most_half_of_lost_after(
        #[case] lost_after: u64,
        #[case] suspect_after: u64,
        #[case] quiet: u64,
    ) {
        let seconds = Duration::from_secs;
        let policy =
            Policy { lost_after: seconds(lost_after), suspect_after: seconds(suspect_after), ..Policy::default() };
        assert_eq!(policy.quiet(), seconds(quiet));
        let for_preview = policy.for_preview();
        assert_eq!((for_preview.lost_after, for_preview.suspect_after), (seconds(quiet), seconds(quiet)));
        assert_eq!(for_preview.start_timeout, seconds(600 - (lost_after - quiet)));
    }

    #[test]
    fn a_loss_is_not_imminent_when_its_timeout_has_just_begun() {
        let minute = Some(Duration::from_mins(1));
        let policy = Policy { stall_after: minute, unscheduled_timeout: minute, ..Policy::default() };
        let for_preview = policy.for_preview();
        assert_eq!(for_preview.stall_after, Some(Duration::from_secs(30)));
        assert_eq!(for_preview.unscheduled_timeout, Some(Duration::from_secs(30)));
    }
}
