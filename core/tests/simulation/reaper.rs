//! Reapers: the real state, hearing, judge, guards and plans, with the wires between them that the controller and the
//! executor are in a real one.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use jobwarden_common::identity::PodUid;
use jobwarden_core::{
    enforce::{NoticeKey, Step},
    guard::{Breaker, SignalHealth},
    health::SignalTracker,
    index::State,
    moment::Moment,
};

use self::watches::Link;
use crate::{
    dice::Dice,
    laws::looks::Concluded,
    world::{Event, World},
};

pub(crate) mod looks;
mod second_look;
mod steps;
mod survey;
mod term;
pub(crate) mod watches;

/// A reaper.
pub(crate) struct Reaper {
    /// Counts its processes.
    pub(crate) life: u32,
    /// It runs.
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
    state: State,
    pub(crate) hearing: SignalTracker,
    health: SignalHealth,
    links: [Link; 5],
    agenda: Vec<Item>,
    breaker: Breaker,
    /// What was last concluded of each Job in this term.
    pub(crate) concluded: Vec<Option<Concluded>>,
    dice: Dice,
}

/// What a reaper has to do about a Job.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Item {
    due: Option<Duration>,
    running: bool,
    touched: bool,
    failures: u32,
    steps: VecDeque<Step>,
    blocked: Vec<PodUid>,
    stopped: bool,
    failed: bool,
    forget: bool,
    again: Option<Duration>,
    /// What was told in this step, and ever in this term.
    told: BTreeSet<NoticeKey>,
    abandoned: BTreeSet<PodUid>,
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
            state: State::default(),
            hearing: SignalTracker::new(start),
            health: SignalHealth::WatchDown,
            links: std::array::from_fn(|_| Link::default()),
            agenda: Vec::new(),
            breaker: Breaker::default(),
            concluded: Vec::new(),
            dice: Dice::of(seed, [5, number as u64, 0]),
        }
    }

    /// Every watch is up, as far as it knows.
    pub(crate) fn watches_are_up(&self) -> bool {
        self.links.iter().all(Link::is_up_as_far_as_known)
    }

    /// A look at this Job is due, or under way, or awaited after a failure.
    pub(crate) fn is_about_to_look(&self, job: usize, now: Duration) -> bool {
        let soon = |due| due <= now + looks::LATENCY;
        self.agenda.get(job).is_some_and(|item| item.running || item.failures > 0 || item.due.is_some_and(soon))
    }

    /// What it would conclude from.
    pub(crate) fn known(
        &self,
        job: &jobwarden_common::identity::JobUid,
        now: Moment,
    ) -> Option<jobwarden_core::index::Known> {
        self.state.known(job, now)
    }

    fn forget_term(&mut self, jobs: usize) {
        self.agenda = (0..jobs).map(|_| Item::default()).collect();
        self.concluded = (0..jobs).map(|_| None).collect();
        self.breaker.clear();
        (self.own_beat, self.enforcing) = (None, false);
    }
}

impl World<'_> {
    /// The instant that the reapers' clocks show.
    pub(crate) fn instant(&self) -> Instant {
        self.start + self.now
    }

    /// The reaper that beats and reports reach now.
    pub(crate) fn listener(&self) -> Option<usize> {
        if self.cluster.service_broken > 0 { None } else { self.leader() }
    }

    /// The reaper that leads.
    pub(crate) fn leader(&self) -> Option<usize> {
        self.reapers.iter().position(|reaper| reaper.leads)
    }

    /// Something reaches a reaper: as its `Observer` does it.
    pub(crate) fn hear<T>(&mut self, reaper: usize, f: impl FnOnce(&mut State, Moment) -> T) -> T {
        let (at, now) = (self.instant(), self.now);
        let it = &mut self.reapers[reaper];
        let (moment, health) = (it.hearing.now(at), it.hearing.health(at));
        if std::mem::replace(&mut it.health, health) != health {
            it.state.all_changed();
            self.note(|| format!("reaper-{reaper} has its health {health:?}, and its clock shows {moment:?}"));
        }
        let it = &mut self.reapers[reaper];
        let result = f(&mut it.state, moment);
        if it.leads && !it.enforcing && it.hearing.synced() {
            it.enforcing = true;
            it.state.all_changed();
        }
        if it.enforcing && it.state.has_changed() {
            // In an order that is the same on every run.
            let mut changed: Vec<_> = it.state.take_changed();
            changed.sort();
            for uid in changed {
                let job = self.jobs.iter().position(|job| job.uid == uid);
                if let Some(job) = job {
                    self.touch(reaper, job, now);
                }
            }
        }
        result
    }

    fn touch(&mut self, reaper: usize, job: usize, now: Duration) {
        let item = &mut self.reapers[reaper].agenda[job];
        if item.running {
            item.touched = true;
            return;
        }
        let at = now + if item.failures == 0 { looks::LATENCY } else { looks::BACKOFF };
        if item.due.is_none_or(|due| at < due) {
            self.look_at(reaper, job, at);
        }
    }

    fn look_at(&mut self, reaper: usize, job: usize, at: Duration) {
        let it = &mut self.reapers[reaper];
        it.agenda[job].due = Some(at);
        let life = it.life;
        self.at(at, Event::Look { reaper, life, job });
    }
}
