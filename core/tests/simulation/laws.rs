//! The laws that every history has to keep, each with its bound and the reason for it; see `docs/simulation.md`.

use std::{fmt, time::Duration};

use self::signal_clock::SignalClock;
use crate::{history::History, world::World};

pub(crate) mod breaker;
mod dead_pods;
mod deadlines;
pub(crate) mod evaluations;
pub(crate) mod outcomes;
pub(crate) mod received_signals;
pub(crate) mod signal_clock;
mod waiting;

/// A law.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Law {
    /// A pod whose worker runs and whose beats or agent reports reach the reaper is never judged lost.
    NoRunningPodIsLost,
    /// Every dead pod is reported within the bound of its row.
    EveryDeadPodIsReported,
    /// No Job and no pod is without a row for longer than the longest bound.
    NothingWaitsForever,
    /// A Job and an attempt have one final outcome, and it agrees with the cluster.
    OneFinalVerdict,
    /// Nothing is written about a loss while a guard holds it.
    GuardsHold,
    /// Deadlines of the policy are kept, neither early nor late.
    DeadlinesAreKept,
    /// A restart of the reaper changes no final outcome.
    RestartsChangeNoOutcome,
    /// Between two evaluations no verdict changes.
    EveryChangeIsEvaluated,
    /// The model itself is sound.
    Simulator,
}

/// A law is broken.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// When.
    pub(crate) at: Duration,
    /// Which.
    pub(crate) law: Law,
    /// How.
    pub(crate) how: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is broken at {:?}: {}", self.law, self.at, self.how)
    }
}

/// The state of the laws in one run.
#[derive(Debug)]
pub(crate) struct Laws {
    /// The first law that was broken.
    pub(crate) violation: Option<Violation>,
    /// The time in which the reaper could receive everything.
    pub(crate) signal_clock: SignalClock,
    /// When the present term began, on that clock.
    pub(crate) led_at: i64,
    /// The losses that were enforced in this term and that the breaker still counts.
    pub(crate) losses: Vec<breaker::Loss>,
    /// Until when the breaker may hold.
    pub(crate) doubtful_until: Duration,
    /// What was recorded of each Job.
    pub(crate) records: Vec<outcomes::Record>,
    /// Random numbers of the laws.
    pub(crate) dice: crate::dice::Dice,
}

impl Laws {
    pub(crate) fn new(history: &History) -> Self {
        Self {
            violation: None,
            signal_clock: SignalClock::default(),
            led_at: 0,
            losses: Vec::new(),
            doubtful_until: Duration::ZERO,
            records: history.jobs.iter().map(|_| outcomes::Record::default()).collect(),
            dice: crate::dice::Dice::of(history.seed, [8, 0, 0]),
        }
    }
}

impl World<'_> {
    /// A law is broken. The first violation counts.
    pub(crate) fn break_law(&mut self, law: Law, how: String) {
        let at = self.now;
        self.log(|| format!("{law:?} is broken: {how}"));
        self.laws.violation.get_or_insert(Violation { at, law, how });
    }
}
