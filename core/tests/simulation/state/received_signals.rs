//! Signals that have reached the leading reaper, as the laws know them.

use std::time::Duration;

use jobwarden_common::beat::Phase;
use jobwarden_core::judge::AGENT_SILENT_AFTER;

/// The signals of one pod in the present term. Moments are those of [`super::signal_clock`].
#[derive(Clone, Debug, Default)]
pub(crate) struct ReceivedSignals {
    /// When the last beat arrived, if it said that the pod runs.
    running: Option<Duration>,
    /// When the agent last reported the worker's processes.
    alive: Option<Duration>,
    /// The last beat said that the pod ends.
    pub(crate) ending: bool,
    /// The same as moments, and when any beat last arrived; the start of the term if none did.
    pub(crate) running_at: i64,
    pub(crate) any_at: i64,
    pub(crate) alive_at: i64,
    /// When the agent first reported that the processes are gone, and when it did so for the second time in a row.
    pub(crate) gone_at: Option<i64>,
    pub(crate) gone_twice_at: Option<i64>,
}

impl ReceivedSignals {
    /// Nothing has arrived since the start of a term.
    pub(crate) fn reset_at(moment: i64) -> Self {
        Self { running_at: moment, any_at: moment, alive_at: moment, ..Self::default() }
    }

    pub(crate) fn beat(&mut self, phase: Phase, now: Duration, moment: i64) {
        (self.any_at, self.ending) = (moment, phase == Phase::Ending);
        self.running = (!self.ending).then_some(now);
        if !self.ending {
            self.running_at = moment;
        }
    }

    /// A report of an agent has arrived, which sees the worker's processes or sees that they are gone; `surely` if the reaper must
    /// have understood the report.
    pub(crate) fn report(&mut self, alive: bool, gone: bool, surely: bool, now: Duration, moment: i64) {
        self.alive = (alive && surely).then_some(now);
        if alive {
            self.alive_at = moment;
        }
        let gone = gone && surely;
        if !gone {
            (self.gone_at, self.gone_twice_at) = (None, None);
        } else if self.gone_at.is_some() {
            self.gone_twice_at.get_or_insert(moment);
        } else {
            self.gone_at = Some(moment);
        }
    }

    /// The same if the node is gone: a signal then counts for five sixths of the time, 25 s of 30.
    pub(crate) fn are_fresh_on_gone_node(&self, now: Duration, suspect_after: Duration, lost_after: Duration) -> bool {
        let (beats, reports) = (suspect_after * 5 / 6, lost_after.min(AGENT_SILENT_AFTER) * 5 / 6);
        self.are_fresh(now, beats, reports)
    }

    /// A beat or a report of the agent is so recent that the pod must not be doubted.
    pub(crate) fn are_fresh(&self, now: Duration, suspect_after: Duration, lost_after: Duration) -> bool {
        self.running.is_some_and(|at| now.saturating_sub(at) < suspect_after)
            || self.alive.is_some_and(|at| now.saturating_sub(at) < AGENT_SILENT_AFTER.min(lost_after))
    }
}
