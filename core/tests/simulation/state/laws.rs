//! The laws, and what they keep of a history.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use jobwarden_common::{identity::PodUid, notification::OutcomeKind};

use super::signal_clock::SignalClock;
use crate::{dice::Dice, history::History};

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
    /// What Kubernetes waits for on purpose, or has replaced, is not lost and fails no Job.
    WaitingIsNoFailure,
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
    pub(crate) losses: Vec<Loss>,
    /// The Jobs with a loss that no guard held in this term, and until when the breaker counts it.
    pub(crate) let_through: BTreeMap<usize, Duration>,
    /// Until when the breaker may hold.
    pub(crate) breaker_may_hold_until: Duration,
    /// What was recorded of each Job.
    pub(crate) records: Vec<Record>,
    /// Random numbers of the laws.
    pub(crate) dice: Dice,
}

impl Laws {
    pub(crate) fn new(history: &History) -> Self {
        Self {
            violation: None,
            signal_clock: SignalClock::default(),
            led_at: 0,
            losses: Vec::new(),
            let_through: BTreeMap::new(),
            breaker_may_hold_until: Duration::ZERO,
            records: history.jobs.iter().map(|_| Record::default()).collect(),
            dice: Dice::of(history.seed, [8, 0, 0]),
        }
    }
}

/// A loss that was enforced.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    pub(crate) job: usize,
    pub(crate) until: Duration,
    /// The nodes of the lost pods.
    pub(crate) nodes: BTreeSet<usize>,
}

/// What was recorded of one Job, and since when it is without a row.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The kind of the final outcome, and when it was recorded.
    pub(crate) last: Option<(OutcomeKind, Duration)>,
    /// The reason of each failed attempt.
    pub(crate) attempts: BTreeMap<PodUid, String>,
    pub(crate) podless: Option<i64>,
    pub(crate) waiting: BTreeMap<usize, Option<(i64, Wait)>>,
    /// Since when a pod has been stuck for a reason, and the Job been stranded.
    pub(crate) stuck: BTreeMap<PodUid, Option<(&'static str, i64)>>,
    pub(crate) stranded: Option<i64>,
}

impl Record {
    /// In a new term every wait starts again.
    pub(crate) fn restart_waiting(&mut self) {
        (self.podless, self.stranded) = (None, None);
        self.waiting.clear();
        self.stuck.clear();
    }
}

/// What a pod waits for: if it changes, the wait begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// It is bound to a node.
    pub(crate) bound: bool,
    /// It is being deleted.
    pub(crate) deleting: bool,
    /// When its node became ready, or ceased to be.
    pub(crate) ready_changed: Duration,
    /// For how long its native sidecar has been warming up.
    pub(crate) warmed: Duration,
}

/// The final state of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FinalState {
    /// How it ended, if it has.
    pub(crate) end: End,
    /// When its final outcome was recorded, if it was.
    pub(crate) recorded_at: Option<Duration>,
    /// The number of its attempts.
    pub(crate) attempts: usize,
}

/// How a Job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It has not ended.
    Open,
    Complete,
    /// Failed by Kubernetes or by the reaper: a race if both detect it, and the same for the orchestrator.
    Failed,
    Deleted,
}
