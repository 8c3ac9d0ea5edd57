//! Leadership: who leads, from when, and how it ends.

use std::time::Duration;

use crate::{
    state::{
        laws::{BreakerLaws, Record},
        received_signals::ReceivedSignals,
    },
    world::{Event, World},
};

/// The interval of the leader's own beats.
const OWN_BEAT_EVERY: Duration = Duration::from_secs(5);

impl World<'_> {
    /// A running reaper tries to become the leader. The Lease of the last leader may have to expire first.
    pub(super) fn may_lead(&mut self, reaper: usize) {
        let it = &mut self.reapers[reaper];
        let (after, life) = (it.dice.ms(300, 15_000), it.life);
        self.after(after, Event::Lead { reaper, life });
    }

    pub(crate) fn lead(&mut self, reaper: usize, life: u32) {
        let it = &self.reapers[reaper];
        if it.life != life || !it.running || self.leader().is_some() || !self.cluster.reapers_reach_api() {
            return;
        }
        self.log(|| format!("reaper-{reaper} leads"));
        let (jobs, now) = (self.jobs.len(), self.now);
        let it = &mut self.reapers[reaper];
        it.reset_term(jobs);
        (it.leads, it.led_since) = (true, now);
        it.term += 1;
        it.signals.expect_own_beat();
        let (first, term) = (it.dice.ms(50, 3_000), it.term);
        self.observe(reaper, jobwarden_core::index::Index::start_listening);
        self.after(first, Event::OwnBeat { reaper, life, term });
        self.update_signal_clock();
        self.reset_signals();
    }

    /// Signals received in an earlier term do not count.
    fn reset_signals(&mut self) {
        let moment = self.laws.signal_clock.at(self.now);
        (self.laws.led_at, self.laws.beats_since) = (moment, moment);
        // Nor does what was silent in an earlier term.
        self.laws.breaker = BreakerLaws::default();
        self.laws.records.iter_mut().for_each(Record::restart_waiting);
        for pod in &mut self.pods {
            pod.received = ReceivedSignals::reset_at(moment);
        }
        let now = self.now;
        for node in &mut self.nodes {
            (node.lease_received, node.lease_steady_since, node.heard_at) = (moment, moment, now);
        }
    }

    pub(crate) fn own_beat(&mut self, reaper: usize, life: u32, term: u32) {
        let (now, at) = (self.now, self.instant());
        let it = &mut self.reapers[reaper];
        if it.life != life || it.term != term || !it.leads {
            return;
        }
        if self.cluster.service_broken + self.cluster.own_beat_lost == 0 {
            it.signals.own_beat_arrived(at);
            it.own_beat = Some(now);
            self.observe(reaper, |_, _| {});
            self.update_signal_clock();
        }
        self.after(OWN_BEAT_EVERY, Event::OwnBeat { reaper, life, term });
    }

    /// A leader that cannot renew its Lease for two thirds of its duration steps down.
    pub(super) fn may_lose_lease(&mut self, reaper: usize) {
        if self.reapers[reaper].leads {
            // The last renewal is up to 5 s old.
            let fault = Event::LoseLease { reaper, life: self.reapers[reaper].life, term: self.reapers[reaper].term };
            let after = self.reapers[reaper].dice.ms(5_000, 10_000);
            self.after(after, fault);
        }
    }

    pub(crate) fn lose_lease(&mut self, reaper: usize, life: u32, term: u32) {
        let it = &self.reapers[reaper];
        if it.life == life && it.term == term && it.leads && !self.cluster.reapers_reach_api() {
            self.step_down(reaper);
        }
    }

    fn step_down(&mut self, reaper: usize) {
        self.log(|| format!("reaper-{reaper} does not lead any more"));
        let jobs = self.jobs.len();
        self.observe(reaper, jobwarden_core::index::Index::stop_listening);
        let it = &mut self.reapers[reaper];
        it.leads = false;
        it.signals.expect_no_beat();
        it.reset_term(jobs);
        self.update_signal_clock();
    }

    /// The leading process ends, at once or in order, and is restarted.
    pub(crate) fn stop_leader(&mut self, killed: bool) {
        let Some(reaper) = self.leader() else { return };
        if !killed {
            self.step_down(reaper);
        }
        self.stop_reaper(reaper);
        let it = &mut self.reapers[reaper];
        let (after, life) = (it.dice.ms(500, 5_000), it.life);
        self.after(after, Event::Start { reaper, life });
        for other in (0..self.reapers.len()).filter(|&other| self.reapers[other].running).collect::<Vec<_>>() {
            if killed {
                self.may_lead(other);
            } else {
                // The Lease was released.
                let life = self.reapers[other].life;
                self.after(Duration::from_secs(2), Event::Lead { reaper: other, life });
            }
        }
    }

    fn stop_reaper(&mut self, reaper: usize) {
        self.log(|| format!("reaper-{reaper} is stopped"));
        let jobs = self.jobs.len();
        let it = &mut self.reapers[reaper];
        it.life += 1;
        (it.running, it.leads) = (false, false);
        it.reset_term(jobs);
        self.update_signal_clock();
    }

    pub(crate) fn stop_all_reapers(&mut self) {
        for reaper in 0..self.reapers.len() {
            self.stop_reaper(reaper);
        }
    }

    pub(crate) fn start_all_reapers(&mut self) {
        for reaper in 0..self.reapers.len() {
            let life = self.reapers[reaper].life;
            self.at(self.now, Event::Start { reaper, life });
        }
    }

    /// Updates the laws' clock: whether the reaper can receive everything now.
    pub(crate) fn update_signal_clock(&mut self) {
        let leader = self.leader().map(|leader| &self.reapers[leader]);
        let receiving = leader.is_some_and(|leader| leader.watches_are_up() && leader.own_beat.is_some())
            && self.cluster.reapers_reach_api()
            && self.cluster.service_broken + self.cluster.own_beat_lost == 0;
        self.laws.signal_clock.set(receiving, self.now);
        let beats_arrive = leader.is_some_and(|leader| leader.own_beat.is_some())
            && self.cluster.service_broken + self.cluster.own_beat_lost == 0;
        if std::mem::replace(&mut self.laws.beats_arrive, beats_arrive) != beats_arrive && beats_arrive {
            self.laws.beats_since = self.laws.signal_clock.at(self.now);
        }
    }
}
