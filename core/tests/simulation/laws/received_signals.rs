//! ReceivedSignals of life and death that have reached the leading reaper, as the laws know them.

use std::time::Duration;

use jobwarden_common::beat::Phase;
use jobwarden_core::judge::AGENT_SILENT_AFTER;

/// What of one pod has reached the reaper in its present term. Moments are of [`super::signal_clock`]'s clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReceivedSignals {
    /// When a beat last arrived that did not say that the pod ends; none if a later one did.
    running: Option<Duration>,
    /// When the agent last saw the worker's processes.
    alive: Option<Duration>,
    /// The last beat said that the pod ends.
    pub(crate) ending: bool,
    /// The same as moments, and when any beat last arrived; the begin of the term if never.
    pub(crate) running_at: i64,
    pub(crate) any_at: i64,
    pub(crate) alive_at: i64,
    /// When the agent first, and for the second time, reported in a row that the processes are gone.
    pub(crate) gone_at: Option<i64>,
    pub(crate) gone_twice_at: Option<i64>,
}

impl ReceivedSignals {
    /// Nothing has been heard since the begin of a term.
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

    /// An agent has reported that it sees the worker, or that it is gone; `surely` if the reaper must have understood.
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

    /// The same where the node is gone, after which a sign counts for five sixths of the time: 25 s of 30.
    pub(crate) fn are_fresh_on_gone_node(&self, now: Duration, suspect_after: Duration, lost_after: Duration) -> bool {
        let (beats, reports) = (suspect_after * 5 / 6, lost_after.min(AGENT_SILENT_AFTER) * 5 / 6);
        self.are_fresh(now, beats, reports)
    }

    /// A beat or the agent has told of life so shortly ago that nobody may doubt it.
    pub(crate) fn are_fresh(&self, now: Duration, suspect_after: Duration, lost_after: Duration) -> bool {
        self.running.is_some_and(|at| now.saturating_sub(at) < suspect_after)
            || self.alive.is_some_and(|at| now.saturating_sub(at) < AGENT_SILENT_AFTER.min(lost_after))
    }
}
