//! Reapers. What a reaper knows and decides is jobwarden-core: its index, its clock, its reconciler. Simulated here are the
//! process around it (when it runs, leads and gets the processor) and the API server that it reads and writes.

use std::time::Instant;

use jobwarden_core::{index::Index, moment::Moment};

use crate::world::World;

mod execute;
mod leadership;
mod reconcile;
mod watches;

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
        it.index.set_receiving(it.signals.is_receiving(at), moment);
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
