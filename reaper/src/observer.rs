//! The observer: joins everything the reaper receives into the [`Evidence`] of each Job.
//!
//! ```text
//!  watch (Jobs, pods, nodes, Leases) ──facts──┐
//!  watch (namespaces), file ──policies────────┤
//!  intake (beats, observations) ──────────────┼─► Observer ─► Index ──► JobSnapshot: evidence, policy, usage, timeline
//!  self_beat ──► the Service ──► intake ──────┘      │
//!                                                 SignalTracker: health, and the clock that stops while a watch is down
//! ```
//!
//! [`Index`] and [`SignalTracker`] are values without I/O that take the time as an argument. [`Observer`] holds both under one
//! lock and passes the time.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use jiff::Timestamp;
use jobwarden_common::identity::{JobUid, PodUid};
use jobwarden_core::{
    evidence::{Evidence, JobIdentity},
    guard::WorkerNode,
    health::{Failure, SignalHealth, SignalTracker, Watch},
    index::{Index, JobLimits},
    moment::Moment,
    policy::{FilePolicy, Policies, Policy, PolicyLimits},
    snapshot::JobSnapshot,
};
use tokio::sync::{Notify, watch};

use self::counters::Counters;
use crate::{clock, namespaces::OwnNamespaces};

mod counters;
#[cfg(test)]
pub(crate) mod fixture;
mod metrics;
mod objects;
#[cfg(test)]
mod tests;

/// The shared state of everything observed. Clones share the same state.
#[derive(Clone, Debug)]
pub struct Observer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Locked before `observed`, and held while a Job is indexed, so that no Job is indexed with an outdated policy.
    policies: RwLock<Policies>,
    observed: Mutex<Observed>,
    changed: Notify,
    own_namespaces: OwnNamespaces,
    /// Counts the inconsistencies of watches.
    inconsistencies: watch::Sender<u64>,
    counters: Counters,
}

#[derive(Debug)]
struct Observed {
    index: Index,
    signals: SignalTracker,
    /// The health when all Jobs were last marked as changed because of it.
    health: SignalHealth,
}

impl Observed {
    /// The moment at `at`, with everything that time alone changes up to date.
    fn refresh(&mut self, at: std::time::Instant) -> Moment {
        let now = self.signals.now(at);
        self.index.set_receiving(self.signals.is_receiving(at), now);
        now
    }
}

impl Observer {
    /// An empty observer. Its health is [`SignalHealth::WatchDown`] until all watches have listed, and it rejects beats and
    /// reports until [`start_listening`](Self::start_listening). `defaults` is the lowest layer of every policy.
    pub fn new(defaults: Policy) -> Self {
        Self::excluding(defaults, OwnNamespaces::default())
    }

    /// One that never takes these namespaces for enrolled.
    pub fn excluding(defaults: Policy, own_namespaces: OwnNamespaces) -> Self {
        let observed = Observed {
            index: Index::default(),
            signals: SignalTracker::new(instant()),
            health: SignalHealth::WatchDown,
        };
        let policies = RwLock::new(Policies::new(defaults));
        Self(Arc::new(Inner {
            policies,
            observed: Mutex::new(observed),
            changed: Notify::new(),
            own_namespaces,
            inconsistencies: watch::channel(0).0,
            counters: Counters::default(),
        }))
    }

    /// The time of the listening clock, which stops while a watch is down.
    pub fn now(&self) -> Moment {
        self.with(|_, now| now)
    }

    /// The wall-clock time of a moment. For display only.
    pub fn wall(&self, at: Moment) -> Timestamp {
        self.lock().signals.wall(at, instant(), clock::now())
    }

    /// Waits until the evidence of a Job may have changed since the last call of [`take_changed`](Self::take_changed).
    /// Supports one waiter at a time.
    pub async fn changed(&self) {
        while !self.lock().index.has_changed() {
            self.0.changed.notified().await;
        }
    }

    /// The Jobs whose evidence may have changed since the last call; all Jobs if the health changed.
    pub fn take_changed(&self) -> Vec<JobUid> {
        self.with(|index, _| index.take_changed())
    }

    /// A snapshot of a Job; `None` if the Job is not in the index.
    pub fn snapshot(&self, job: &JobUid) -> Option<JobSnapshot> {
        let (at, wall_at) = (instant(), clock::now());
        let mut observed = self.lock();
        let now = observed.refresh(at);
        let Observed { index, signals, .. } = &*observed;
        index.snapshot(job, now, |moment| signals.wall(moment, at, wall_at))
    }

    /// Answers further beats of this pod with `stop`, even after the pod object is gone.
    pub fn abandon(&self, pod: &PodUid) {
        self.with(|index, _| index.abandon(pod));
    }

    /// Replaces the policy layer of the configuration file, and what annotations may set.
    pub fn set_policy(&self, file: FilePolicy, limits: PolicyLimits) {
        self.update_policies(|policies| {
            policies.set_file(file);
            policies.set_limits(limits);
            true
        });
    }

    /// Replaces the limits of how many Jobs are followed.
    pub fn set_job_limits(&self, limits: JobLimits) {
        self.with(|index, _| index.set_job_limits(limits));
    }

    /// Applies `change` to the policy layers. If the layers changed, updates the policy of every Job and returns true.
    fn update_policies(&self, change: impl FnOnce(&mut Policies) -> bool) -> bool {
        let mut policies = self.0.policies.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut policies);
        if changed {
            self.with(|index, _| index.apply_policies(&policies));
        }
        changed
    }

    /// Calls `f` with all nodes, as the breaker counts them, and the present moment.
    pub fn survey(&self, f: impl FnOnce(&mut dyn Iterator<Item = WorkerNode<'_>>, Moment)) {
        let mut observed = self.lock();
        let now = observed.refresh(instant());
        f(&mut observed.index.worker_nodes(), now);
    }

    /// The evidence and policy of a Job: less than a [`JobSnapshot`], and cheaper to build.
    pub fn evidence(&self, job: &JobUid) -> Option<(Evidence, Policy)> {
        let mut observed = self.lock();
        observed.refresh(instant());
        observed.index.evidence(job)
    }

    /// Removes a Job from the index: it is gone, and nothing is left to do about it.
    pub fn forget(&self, job: &JobUid) {
        self.with(|index, _| index.forget_job(job));
    }

    /// Called when this reaper becomes the leader: accepts beats and reports, and counts silence, from now on. The health is
    /// [`SignalHealth::NotReceiving`] until the reaper's own beat first arrives.
    pub fn start_listening(&self) {
        {
            let mut observed = self.lock();
            observed.signals.expect_own_beat();
            let now = observed.refresh(instant());
            observed.index.start_listening(now);
        }
        self.0.changed.notify_one();
    }

    /// Called when this reaper stops being the leader: beats and reports are rejected.
    pub fn stop_listening(&self) {
        self.with(Index::stop_listening);
        self.lock().signals.expect_no_beat();
    }

    /// Whether beats and reports are accepted, because this reaper is the leader.
    pub fn is_listening(&self) -> bool {
        self.lock().index.is_listening()
    }

    /// Whether watches and beats arrive.
    pub fn health(&self) -> SignalHealth {
        self.lock().signals.health(instant())
    }

    /// Whether every watch has listed once. Until then evidence is incomplete.
    pub fn synced(&self) -> bool {
        self.lock().signals.synced()
    }

    /// The Job with this name. If several had it, the one that still exists.
    pub fn find(&self, namespace: &str, name: &str) -> Option<JobUid> {
        self.lock().index.find(namespace, name)
    }

    /// The identity of a Job; `None` if the Job is not in the index.
    pub fn identity(&self, job: &JobUid) -> Option<JobIdentity> {
        self.lock().index.identity(job)
    }

    /// How long this reaper has been receiving as the leader, by the listening clock; zero if it does not receive, or does not lead.
    pub fn listening_for(&self) -> Duration {
        self.with(|index, now| if index.is_listening() { now.since(index.listening_since()) } else { Duration::ZERO })
    }

    /// The number of Jobs in the index.
    pub fn jobs(&self) -> usize {
        self.lock().index.jobs()
    }

    /// Called when the reaper's own beat arrives through the Service.
    pub fn own_beat_arrived(&self) {
        self.update_signals(SignalTracker::own_beat_arrived);
    }

    /// Called when a watch connects or receives an event.
    pub(crate) fn watch_received(&self, watch: Watch) {
        self.update_signals(|signals, at| signals.watch_received(watch, at));
    }

    /// Called when a watch has listed all objects.
    pub(crate) fn watch_listed(&self, watch: Watch) {
        self.update_signals(|signals, at| {
            signals.watch_listed(watch);
            signals.watch_received(watch, at);
        });
    }

    /// Called when a watch fails.
    pub(crate) fn watch_failed(&self, watch: Watch, failure: Failure) {
        self.update_signals(|signals, at| signals.watch_failed(watch, failure, at));
    }

    /// Called when what a watch has delivered is not what the API server holds; `found_by` is the check that has shown it.
    pub(crate) fn watch_inconsistent(&self, watch: Watch, found_by: &'static str) {
        self.0.counters.count_inconsistency(watch, found_by);
        self.0.inconsistencies.send_modify(|count| *count += 1);
    }

    /// A receiver that is notified when a watch turns out to be inconsistent. So may be every other watch of this process, because etcd
    /// was probably restored from a backup.
    pub(crate) fn inconsistencies(&self) -> watch::Receiver<u64> {
        self.0.inconsistencies.subscribe()
    }

    fn update_signals(&self, f: impl FnOnce(&mut SignalTracker, std::time::Instant)) {
        f(&mut self.lock().signals, instant());
        // Marks all Jobs as changed if the health changed.
        self.with(|_, _| {});
    }

    /// Runs `f` on the index, and wakes the waiter of [`changed`](Self::changed) if a Job changed.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Index, Moment) -> T) -> T {
        let at = instant();
        let (result, changed) = {
            let mut observed = self.lock();
            let now = observed.refresh(at);
            let Observed { index, signals, health } = &mut *observed;
            let current = signals.health(at);
            if *health != current {
                tracing::info!(was = ?health, is = ?current, "signal health changed");
                *health = current;
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
        // After a panic the state is still usable: the next event of an object replaces its facts.
        self.0.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The monotonic clock of tokio, which tests can pause.
fn instant() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
