//! The laws that every history has to keep, each with its bound and why it is that; `docs/simulation.md` says them in prose.

use std::{fmt, time::Duration};

use self::signal_clock::SignalClock;
use crate::{history::History, world::World};

pub(crate) mod breaker;
mod deadlines;
mod waiting;
mod dead_pods;
pub(crate) mod signal_clock;
pub(crate) mod evaluations;
pub(crate) mod outcomes;
pub(crate) mod received_signals;

/// A law.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Law {
    /// A pod whose worker lives and whose beats or agent reach the reaper is never judged lost.
    NoRunningPodIsLost,
    /// Every dead pod is reported, within the bound that its row gives.
    EveryDeadPodIsReported,
    /// No Job and no pod is without a row for longer than the longest bound.
    NothingWaitsForever,
    /// Never two different final verdicts for one attempt or Job.
    OneFinalVerdict,
    /// No lost verdict is enforced while a guard holds.
    GuardsHold,
    /// What is measured by the time of the cluster is done neither early nor late.
    DeadlinesAreKept,
    /// A restart of the reaper changes no final outcome.
    RestartsChangeNoOutcome,
    /// Between two looks no verdict changes.
    EveryChangeIsEvaluated,
    /// The simulator itself is sound.
    Simulator,
}

/// A law was broken.
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

/// What the laws keep of a history.
#[derive(Debug)]
pub(crate) struct Laws {
    /// The first law that was broken.
    pub(crate) violation: Option<Violation>,
    /// The time that the reaper could hear.
    pub(crate) signal_clock: SignalClock,
    /// When the present term began, on that clock.
    pub(crate) led_at: i64,
    /// The losses that were enforced in this term and that the breaker still counts.
    pub(crate) losses: Vec<breaker::Loss>,
    /// Until when the breaker may hold.
    pub(crate) doubtful_until: Duration,
    /// What was said of each Job.
    pub(crate) records: Vec<outcomes::Record>,
    /// What time the laws have to choose within a look.
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
    /// A law is broken; the first counts.
    pub(crate) fn break_law(&mut self, law: Law, how: String) {
        let at = self.now;
        self.log(|| format!("{law:?} is broken: {how}"));
        self.laws.violation.get_or_insert(Violation { at, law, how });
    }
}
