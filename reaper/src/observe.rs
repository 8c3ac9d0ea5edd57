//! Observe: everything the reaper hears, joined into [`Evidence`] of one Job at a time.
//!
//! ```text
//!  watch (Jobs, pods, nodes, Leases) ──facts──┐
//!  watch (namespaces), file ──policies────────┤
//!  intake (beats, observations) ──────────────┼─► Observer ─► State ──► JobSnapshot: evidence, policy, usage, timeline
//!  self_beat ──► the Service ──► intake ──────┘      │
//!                                                 SignalTracker: health, and the clock that stands still while deaf
//! ```
//!
//! [`State`] and [`SignalTracker`] are values without I/O that take the time as an argument;
//! [`Observer`] holds them under one lock and tells them the time.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use jiff::Timestamp;
use jobwarden_common::{
    identity::{JobUid, PodUid},
    notification::{Attempt, Cause, TimelineEntry, Usage},
};
use tokio::sync::Notify;

use self::{
    hearing::{Failure, SignalTracker, Watch},
    state::State,
};
use crate::{
    evidence::{Evidence, JobIdentity},
    guard::SignalHealth,
    moment::Moment,
    policy::{FilePolicy, Origins, Policies, Policy},
};

mod agent_observation;
pub mod causes;
pub mod clock;
#[cfg(test)]
pub(crate) mod fixture;
pub mod hearing;
pub mod intake;
pub mod job_facts;
mod metrics;
pub mod node_facts;
mod objects;
pub mod pod_facts;
mod records;
pub mod self_beat;
pub mod state;
#[cfg(test)]
mod tests;
mod timeline;
pub mod watch;

/// What the reaper hears; clones are the same one.
#[derive(Clone, Debug)]
pub struct Observer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Locked before `heard`, and while a Job is taken in: none may be judged by what no longer holds.
    policies: RwLock<Policies>,
    heard: Mutex<Heard>,
    changed: Notify,
}

#[derive(Debug)]
struct Heard {
    state: State,
    hearing: SignalTracker,
    /// As they were when all Jobs were last told of a change.
    health: SignalHealth,
}

/// What is known of one Job, for everybody who deals with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSnapshot {
    /// For the judge.
    pub evidence: Evidence,
    /// How it is judged.
    pub policy: Policy,
    /// Which layer each value of the policy comes from.
    pub origins: Origins,
    /// What its attempts used, if anything was observed.
    pub usage: Option<Usage>,
    /// The last of its pods that is gone.
    pub past: Option<PastAttempt>,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineEntry>,
}

/// A pod whose object is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastAttempt {
    /// Which.
    pub attempt: Attempt,
    /// Why it ended, by its last status.
    pub cause: Cause,
}

impl Observer {
    /// Knows nothing, is blindfolded until the watches have listed, and does not listen until told to. Jobs are judged by
    /// `defaults` where no other layer says otherwise.
    pub fn new(defaults: Policy) -> Self {
        let hearing = SignalTracker::new(instant());
        let heard = Heard { state: State::default(), hearing, health: SignalHealth::WatchDown };
        let policies = RwLock::new(Policies::new(defaults));
        Self(Arc::new(Inner { policies, heard: Mutex::new(heard), changed: Notify::new() }))
    }

    /// What the listening clock shows: it stands still while the reaper is deaf.
    pub fn now(&self) -> Moment {
        self.with(|_, now| now)
    }

    /// The wall clock's time at a moment; for people only.
    pub fn wall(&self, at: Moment) -> Timestamp {
        self.lock().hearing.wall(at, instant(), Timestamp::now())
    }

    /// Returns once the evidence of some Job may have changed since [`take_changed`](Self::take_changed) was last called.
    /// For one caller at a time.
    pub async fn changed(&self) {
        while !self.lock().state.has_changed() {
            self.0.changed.notified().await;
        }
    }

    /// The Jobs whose evidence may have changed since this was last called: all of them when the health have changed.
    pub fn take_changed(&self) -> Vec<JobUid> {
        self.with(|state, _| state.take_changed())
    }

    /// What is known of a Job; nothing if it was never seen or is forgotten.
    pub fn snapshot(&self, job: &JobUid) -> Option<JobSnapshot> {
        let (at, wall_at) = (instant(), Timestamp::now());
        let mut heard = self.lock();
        let now = heard.hearing.now(at);
        let known = heard.state.known(job, now)?;
        let entry = |event: timeline::Event| TimelineEntry {
            at: format!("{:.3}", heard.hearing.wall(event.at, at, wall_at)),
            event: event.what.into(),
        };
        let timeline = known.timeline.into_iter().map(entry).collect();
        Some(JobSnapshot {
            evidence: known.evidence,
            policy: known.policy,
            origins: known.origins,
            usage: known.usage,
            past: known.past,
            timeline,
        })
    }

    /// Whether a Job was seen and its object is no longer in the API, be it finished or not.
    pub fn is_gone(&self, job: &JobUid) -> bool {
        self.lock().state.is_gone(job)
    }

    /// From now on, beats of this pod are answered with `stop`, also after its object is gone.
    pub fn give_up(&self, pod: &PodUid) {
        self.with(|state, _| state.give_up(pod));
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
            self.with(|state, _| state.reconsider(&policies));
        }
        changed
    }

    /// How many nodes a zone has.
    pub fn nodes_in(&self, zone: &str) -> usize {
        self.lock().state.nodes_in(zone)
    }

    /// What is known of a Job for the judge alone, and how it is judged: less than a [`JobSnapshot`], and sooner had.
    pub fn evidence(&self, job: &JobUid) -> Option<(Evidence, Policy)> {
        self.lock().state.evidence(job)
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
            let mut heard = self.lock();
            heard.hearing.expect_own_beat(at);
            let now = heard.hearing.now(at);
            heard.state.start_listening(now);
        }
        self.0.changed.notify_one();
    }

    /// This reaper does not lead any more: beats and reports are refused.
    pub fn stop_listening(&self) {
        self.with(State::stop_listening);
        self.lock().hearing.expect_no_beat(instant());
    }

    /// Whether this reaper leads.
    pub fn is_listening(&self) -> bool {
        self.lock().state.is_listening()
    }

    /// Whether the reaper hears what there is to hear.
    pub fn health(&self) -> SignalHealth {
        self.lock().hearing.health(instant())
    }

    /// Whether every watch has listed: before, there is less evidence than there should be.
    pub fn synced(&self) -> bool {
        self.lock().hearing.synced()
    }

    /// The Job of this name; of several, one that is not gone.
    pub fn find(&self, namespace: &str, name: &str) -> Option<JobUid> {
        self.lock().state.find(namespace, name)
    }

    /// Who a Job is, if it is known.
    pub fn identity(&self, job: &JobUid) -> Option<JobIdentity> {
        self.lock().state.identity(job)
    }

    /// For how long this reaper has listened as the leader, by the listening clock.
    pub fn listening_for(&self) -> Duration {
        self.with(|state, now| if state.is_listening() { now.since(state.listening_since()) } else { Duration::ZERO })
    }

    /// How many Jobs are known.
    pub fn jobs(&self) -> usize {
        self.lock().state.jobs()
    }

    /// The reaper's own beat has arrived.
    pub fn own_beat_arrived(&self) {
        self.hear(SignalTracker::own_beat_arrived);
    }

    /// A watch is connected, or heard something.
    fn watch_heard(&self, watch: Watch) {
        self.hear(|hearing, at| hearing.watch_heard(watch, at));
    }

    /// A watch has listed all objects.
    fn watch_listed(&self, watch: Watch) {
        self.hear(|hearing, at| {
            hearing.watch_listed(watch);
            hearing.watch_heard(watch, at);
        });
    }

    /// A watch has failed.
    fn watch_failed(&self, watch: Watch, failure: Failure) {
        self.hear(|hearing, at| hearing.watch_failed(watch, failure, at));
    }

    fn hear(&self, f: impl FnOnce(&mut SignalTracker, std::time::Instant)) {
        f(&mut self.lock().hearing, instant());
        // Tells of a change of the health.
        self.with(|_, _| {});
    }

    /// Does something with what is known, and wakes whoever waits for a change if there is one.
    fn with<T>(&self, f: impl FnOnce(&mut State, Moment) -> T) -> T {
        let at = instant();
        let (result, changed) = {
            let mut heard = self.lock();
            let Heard { state, hearing, health } = &mut *heard;
            let (now, ears_now) = (hearing.now(at), hearing.health(at));
            if *health != ears_now {
                tracing::info!(was = ?health, is = ?ears_now, "hearing has changed");
                *health = ears_now;
                state.all_changed();
            }
            (f(state, now), state.has_changed())
        };
        if changed {
            self.0.changed.notify_one();
        }
        result
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        // What a panic left behind is whole enough to go on with: each fact is replaced by the next of its object.
        self.0.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The monotonic clock, as tokio has it: tests can pause it.
fn instant() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
