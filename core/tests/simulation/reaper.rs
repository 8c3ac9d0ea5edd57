//! Reapers. What a reaper knows and decides is jobwarden-core: its index, its clock, its reconciler. Simulated here are the
//! process around it (when it runs, leads and gets the processor) and the API server that it reads and writes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jobwarden_core::{
    evidence::Evidence,
    health::{SignalHealth, SignalTracker},
    index::Index,
    moment::Moment,
    policy::Policy,
    reconcile::{Mode, Reconciler},
};

use self::{execute::Execution, watches::WatchConnection};
use crate::{dice::Dice, laws::evaluations::EvaluationRecord, world::World};

mod execute;
mod leadership;
mod reconcile;
pub(crate) mod watches;

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
    enforcing: bool,
    index: Index,
    pub(crate) signals: SignalTracker,
    health: SignalHealth,
    watches: [WatchConnection; 5],
    reconciler: Reconciler,
    /// When the reconciler is asked next.
    wake_at: Option<Duration>,
    /// The plans that are being executed, by Job.
    executions: BTreeMap<usize, Execution>,
    /// What the laws know of the evaluations of each Job in this term.
    pub(crate) evaluations: Vec<EvaluationRecord>,
    dice: Dice,
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
    pub(crate) fn evidence(&self, job: &jobwarden_common::identity::JobUid) -> Option<(Evidence, Policy)> {
        self.index.evidence(job)
    }

    /// A term begins or ends, or the process does.
    fn reset_term(&mut self, jobs: usize) {
        self.reconciler.clear();
        self.executions.clear();
        self.evaluations = (0..jobs).map(|_| EvaluationRecord::default()).collect();
        (self.own_beat, self.enforcing, self.wake_at) = (None, false, None);
    }
}

impl World<'_> {
    /// The instant that the reapers' monotonic clocks show.
    pub(crate) fn instant(&self) -> Instant {
        self.start + self.now
    }

    /// The reaper that receives beats and reports now.
    pub(crate) fn signal_receiver(&self) -> Option<usize> {
        if self.cluster.service_broken > 0 { None } else { self.leader() }
    }

    /// The reaper that leads.
    pub(crate) fn leader(&self) -> Option<usize> {
        self.reapers.iter().position(|reaper| reaper.leads)
    }

    /// A reaper receives something, as the `Observer` of a real one does.
    pub(crate) fn observe<T>(&mut self, reaper: usize, f: impl FnOnce(&mut Index, Moment) -> T) -> T {
        let at = self.instant();
        let it = &mut self.reapers[reaper];
        let (moment, health) = (it.signals.now(at), it.signals.health(at));
        if std::mem::replace(&mut it.health, health) != health {
            it.index.all_changed();
            self.log(|| format!("reaper-{reaper}: signal health is {health:?}, the clock shows {moment:?}"));
        }
        let it = &mut self.reapers[reaper];
        let result = f(&mut it.index, moment);
        if it.leads && !it.enforcing && it.signals.synced() {
            it.enforcing = true;
            it.index.all_changed();
        }
        if it.enforcing && it.index.has_changed() {
            self.enqueue_changed(reaper);
        }
        result
    }
}
