//! The state of a reaper.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jobwarden_common::identity::JobUid;
use jobwarden_core::{
    evidence::{Evidence, JobIdentity},
    health::{SignalHealth, SignalTracker},
    index::Index,
    plan::{sequence::StepSequence, step::Step},
    policy::Policy,
    reconcile::{Mode, Reconciler, StepReport},
    server_clock::ServerClock,
};

use super::{evaluations::EvaluationRecord, watch::WatchConnection};
use crate::dice::Dice;

/// A reaper.
pub(crate) struct Reaper {
    /// Counts its processes.
    pub(crate) life: u32,
    /// The process runs.
    pub(crate) running: bool,
    /// It leads.
    pub(crate) leads: bool,
    /// Counts the terms in which it led.
    pub(crate) term: u32,
    /// Since when it leads.
    pub(crate) led_since: Duration,
    /// When its own beat last arrived in this term.
    pub(crate) own_beat: Option<Duration>,
    /// It leads, and all watches have listed.
    pub(crate) enforcing: bool,
    pub(crate) server_clock: ServerClock,
    pub(crate) index: Index,
    pub(crate) signals: SignalTracker,
    pub(crate) health: SignalHealth,
    pub(crate) watches: [WatchConnection; 5],
    pub(crate) reconciler: Reconciler,
    /// When the reconciler is asked next.
    pub(crate) wake_at: Option<Duration>,
    /// The plans that are being executed, by Job.
    pub(crate) executions: BTreeMap<usize, Execution>,
    /// What the laws know of the evaluations of each Job in this term.
    pub(crate) evaluations: Vec<EvaluationRecord>,
    pub(crate) dice: Dice,
}

impl Reaper {
    pub(crate) fn new(number: usize, start: Instant, seed: u64) -> Self {
        Self {
            life: 0,
            running: false,
            leads: false,
            term: 0,
            led_since: Duration::ZERO,
            own_beat: None,
            enforcing: false,
            server_clock: ServerClock::default(),
            index: Index::default(),
            signals: SignalTracker::new(start),
            health: SignalHealth::WatchDown,
            watches: std::array::from_fn(|_| WatchConnection::default()),
            reconciler: Reconciler::new(Mode::Enforce),
            wake_at: None,
            executions: BTreeMap::new(),
            evaluations: Vec::new(),
            dice: Dice::of(seed, [5, number as u64, 0]),
        }
    }

    /// Every watch is up, as far as the reaper knows.
    pub(crate) fn watches_are_up(&self) -> bool {
        self.watches.iter().all(WatchConnection::is_up_as_far_as_known)
    }

    /// The steps of this Job are being taken.
    pub(crate) fn is_executing(&self, job: usize) -> bool {
        self.executions.contains_key(&job)
    }

    /// What this Job would be judged by now.
    pub(crate) fn evidence(&self, job: &JobUid) -> Option<(Evidence, Policy)> {
        self.index.evidence(job)
    }

    /// A term begins or ends, or the process does.
    pub(crate) fn reset_term(&mut self, jobs: usize) {
        self.reconciler.clear();
        self.executions.clear();
        self.evaluations = (0..jobs).map(|_| EvaluationRecord::default()).collect();
        (self.own_beat, self.enforcing, self.wake_at) = (None, false, None);
    }
}

/// A plan that is being executed.
#[derive(Debug)]
pub(crate) struct Execution {
    pub(crate) job: JobIdentity,
    pub(crate) steps: StepSequence,
    pub(crate) report: StepReport,
    pub(crate) requeue: Option<Duration>,
}

impl Execution {
    pub(crate) fn new(job: JobIdentity, steps: Vec<Step>, requeue: Option<Duration>) -> Self {
        Self { job, steps: StepSequence::new(steps), report: StepReport::default(), requeue }
    }
}
