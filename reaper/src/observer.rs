//! Observe: everything the reaper hears, joined into [`Evidence`] of one Job at a time.
//!
//! ```text
//!  watch (Jobs, pods, nodes, Leases) ──facts──┐
//!  watch (namespaces), file ──policies────────┤
//!  intake (beats, observations) ──────────────┼─► Observer ─► Index ──► JobSnapshot: evidence, policy, usage, timeline
//!  self_beat ──► the Service ──► intake ──────┘      │
//!                                                 SignalTracker: health, and the clock that stands still while deaf
//! ```
//!
//! [`Index`] and [`SignalTracker`] are values without I/O that take the time as an argument;
//! [`Observer`] holds them under one lock and tells them the time.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use jiff::Timestamp;
use jobwarden_common::identity::{JobUid, PodUid};
use jobwarden_core::{
    evidence::{Evidence, JobIdentity},
    health::{Failure, SignalHealth, SignalTracker, Watch},
    index::Index,
    moment::Moment,
    policy::{FilePolicy, Policies, Policy},
    snapshot::JobSnapshot,
};
use tokio::sync::Notify;

#[cfg(test)]
pub(crate) mod fixture;
mod metrics;
mod objects;
#[cfg(test)]
mod tests;

/// What the reaper hears; clones are the same one.
#[derive(Clone, Debug)]
pub struct Observer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Locked before `observed`, and while a Job is taken in: none may be judged by what no longer holds.
    policies: RwLock<Policies>,
    observed: Mutex<Observed>,
    changed: Notify,
}

#[derive(Debug)]
struct Observed {
    index: Index,
    signals: SignalTracker,
    /// As they were when all Jobs were last told of a change.
    health: SignalHealth,
}

impl Observer {
    /// Knows nothing, is blindfolded until the watches have listed, and does not listen until told to. Jobs are judged by
    /// `defaults` where no other layer says otherwise.
    pub fn new(defaults: Policy) -> Self {
        let observed = Observed {
            index: Index::default(),
            signals: SignalTracker::new(instant()),
            health: SignalHealth::WatchDown,
        };
        let policies = RwLock::new(Policies::new(defaults));
        Self(Arc::new(Inner { policies, observed: Mutex::new(observed), changed: Notify::new() }))
    }

    /// What the listening clock shows: it stands still while the reaper is deaf.
    pub fn now(&self) -> Moment {
        self.with(|_, now| now)
    }

    /// The wall clock's time at a moment; for people only.
    pub fn wall(&self, at: Moment) -> Timestamp {
        self.lock().signals.wall(at, instant(), Timestamp::now())
    }

    /// Returns once the evidence of some Job may have changed since [`take_changed`](Self::take_changed) was last called.
    /// For one caller at a time.
    pub async fn changed(&self) {
        while !self.lock().index.has_changed() {
            self.0.changed.notified().await;
        }
    }

    /// The Jobs whose evidence may have changed since this was last called: all of them when the health have changed.
    pub fn take_changed(&self) -> Vec<JobUid> {
        self.with(|state, _| state.take_changed())
    }

    /// What is known of a Job; `None` if it was never seen or is forgotten.
    pub fn snapshot(&self, job: &JobUid) -> Option<JobSnapshot> {
        let (at, wall_at) = (instant(), Timestamp::now());
        let mut observed = self.lock();
        let now = observed.signals.now(at);
        let Observed { index, signals, .. } = &*observed;
        index.snapshot(job, now, |moment| signals.wall(moment, at, wall_at))
    }

    /// From now on, beats of this pod are answered with `stop`, also after its object is gone.
    pub fn abandon(&self, pod: &PodUid) {
        self.with(|state, _| state.abandon(pod));
    }

    /// The configuration file says this of policies now.
    pub fn set_policy(&self, file: FilePolicy) {
        self.reconsider(|policies| {
            policies.set_file(file);
            true
        });
    }

    /// Judges every Job anew where `change` changes the layers of policies.
    fn reconsider(&self, change: impl FnOnce(&mut Policies) -> bool) -> bool {
        let mut policies = self.0.policies.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut policies);
        if changed {
            self.with(|index, _| index.apply_policies(&policies));
        }
        changed
    }

    /// How many nodes a zone has.
    pub fn nodes_in(&self, zone: &str) -> usize {
        self.lock().index.nodes_in(zone)
    }

    /// What is known of a Job for the judge alone, and how it is judged: less than a [`JobSnapshot`], and sooner had.
    pub fn evidence(&self, job: &JobUid) -> Option<(Evidence, Policy)> {
        self.lock().index.evidence(job)
    }

    /// All is done about a Job that is gone.
    pub fn forget(&self, job: &JobUid) {
        self.with(|state, _| state.forget_job(job));
    }

    /// This reaper leads: beats and reports are taken, and silence is counted, from now on. Deaf until its own beat
    /// arrives for the first time.
    pub fn start_listening(&self) {
        let at = instant();
        {
            let mut observed = self.lock();
            observed.signals.expect_own_beat(at);
            let now = observed.signals.now(at);
            observed.index.start_listening(now);
        }
        self.0.changed.notify_one();
    }

    /// This reaper does not lead any more: beats and reports are refused.
    pub fn stop_listening(&self) {
        self.with(Index::stop_listening);
        self.lock().signals.expect_no_beat(instant());
    }

    /// Whether this reaper leads.
    pub fn is_listening(&self) -> bool {
        self.lock().index.is_listening()
    }

    /// Whether the reaper hears what there is to hear.
    pub fn health(&self) -> SignalHealth {
        self.lock().signals.health(instant())
    }

    /// Whether every watch has listed: before, there is less evidence than there should be.
    pub fn synced(&self) -> bool {
        self.lock().signals.synced()
    }

    /// The Job of this name; of several, one that is not gone.
    pub fn find(&self, namespace: &str, name: &str) -> Option<JobUid> {
        self.lock().index.find(namespace, name)
    }

    /// Who a Job is, if it is known.
    pub fn identity(&self, job: &JobUid) -> Option<JobIdentity> {
        self.lock().index.identity(job)
    }

    /// For how long this reaper has listened as the leader, by the listening clock.
    pub fn listening_for(&self) -> Duration {
        self.with(|state, now| if state.is_listening() { now.since(state.listening_since()) } else { Duration::ZERO })
    }

    /// How many Jobs are known.
    pub fn jobs(&self) -> usize {
        self.lock().index.jobs()
    }

    /// The reaper's own beat has arrived.
    pub fn own_beat_arrived(&self) {
        self.hear(SignalTracker::own_beat_arrived);
    }

    /// A watch is connected, or heard something.
    pub(crate) fn watch_heard(&self, watch: Watch) {
        self.hear(|hearing, at| hearing.watch_received(watch, at));
    }

    /// A watch has listed all objects.
    pub(crate) fn watch_listed(&self, watch: Watch) {
        self.hear(|hearing, at| {
            hearing.watch_listed(watch);
            hearing.watch_received(watch, at);
        });
    }

    /// A watch has failed.
    pub(crate) fn watch_failed(&self, watch: Watch, failure: Failure) {
        self.hear(|hearing, at| hearing.watch_failed(watch, failure, at));
    }

    fn hear(&self, f: impl FnOnce(&mut SignalTracker, std::time::Instant)) {
        f(&mut self.lock().signals, instant());
        // Tells of a change of the health.
        self.with(|_, _| {});
    }

    /// Does something with what is known, and wakes whoever waits for a change if there is one.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Index, Moment) -> T) -> T {
        let at = instant();
        let (result, changed) = {
            let mut observed = self.lock();
            let Observed { index, signals, health } = &mut *observed;
            let (now, ears_now) = (signals.now(at), signals.health(at));
            if *health != ears_now {
                tracing::info!(was = ?health, is = ?ears_now, "hearing has changed");
                *health = ears_now;
                index.all_changed();
            }
            (f(index, now), index.has_changed())
        };
        if changed {
            self.0.changed.notify_one();
        }
        result
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Observed> {
        // What a panic left behind is whole enough to go on with: each fact is replaced by the next of its object.
        self.0.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The monotonic clock, as tokio has it: tests can pause it.
fn instant() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
