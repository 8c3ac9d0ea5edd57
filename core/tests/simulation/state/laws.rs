//! The laws, and what they keep of a history.

use std::{collections::BTreeMap, fmt, time::Duration};

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
    /// Nothing is written about a loss while a guard holds it, and a guard holds exactly what could be its own fault.
    GuardsHold,
    /// The breaker holds only where enough failure domains fail together.
    BreakerCountsDomains,
    /// What the breaker holds it releases.
    HoldsEnd,
    /// Deadlines of the policy are kept, neither early nor late.
    DeadlinesAreKept,
    /// What Kubernetes waits for on purpose, or has replaced, is not lost and fails no Job.
    WaitingIsNoFailure,
    /// A restart of the reaper changes no final outcome.
    RestartsChangeNoOutcome,
    /// Between two evaluations no verdict changes.
    EveryChangeIsEvaluated,
    /// A Job that is out of enrolment, or being deleted, does not carry the finalizer for long.
    NoFinalizerIsLeftBehind,
    /// Nothing of a Job that is out of enrolment is judged or recorded.
    NothingOutsideIsJudged,
    /// A pod with a forged owner is no pod of the Job that it names.
    ForgedPodsChangeNothing,
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
    /// Whether beats and reports can arrive, and since when they can, on that clock: silence counts from there on at the earliest.
    pub(crate) beats_arrive: bool,
    pub(crate) beats_since: i64,
    /// What the laws of the breaker remember of this term.
    pub(crate) breaker: BreakerLaws,
    /// The writes about a loss that rests on silence: when, the pod, and whether its worker ran.
    pub(crate) enforced: Vec<(Duration, usize, bool)>,
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
            beats_arrive: false,
            beats_since: 0,
            breaker: BreakerLaws::default(),
            enforced: Vec::new(),
            records: history.jobs.iter().map(|_| Record::default()).collect(),
            dice: Dice::of(history.seed, [8, 0, 0]),
        }
    }
}

/// What the laws of the breaker remember of one term.
#[derive(Debug, Default)]
pub(crate) struct BreakerLaws {
    /// Until when it may hold losses of silent nodes, and of nodes where processes are gone.
    pub(crate) silence_until: Duration,
    pub(crate) process_gone_until: Duration,
    /// The same for heartbeats, by namespace.
    pub(crate) heartbeats_until: BTreeMap<usize, Duration>,
    /// Since when it has held a loss of a Job without a break, on the clock of the laws, while nodes reported.
    pub(crate) held_since: BTreeMap<usize, i64>,
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
    /// Since when the finalizer should be released.
    pub(crate) held: Option<i64>,
}

impl Record {
    /// In a new term every wait starts again.
    pub(crate) fn restart_waiting(&mut self) {
        (self.podless, self.stranded, self.held) = (None, None, None);
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
    /// When its end began or, if that was earlier, its final outcome was recorded. How long Kubernetes then takes to end its pods is not the
    /// reaper's doing.
    pub(crate) decided_at: Option<Duration>,
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
