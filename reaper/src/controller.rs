//! The controller: joins the rooms, and runs them while this process leads.
//!
//! ```text
//!  observer.changed ─┐
//!  outbox changed   ─┼─► agenda ──due Jobs──► enforcer: snapshot → judge → plan → execute ─┐
//!  deadlines        ─┘     ▲──────────────────────── when to look again ──────────────┘
//! ```

mod agenda;
mod enforcer;
mod role;
mod tally;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use jobwarden_serve::{lease::Leadership, shutdown::Shutdown};
use kube::Api;
use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, sleep, sleep_until},
};

use self::agenda::WorkQueue;
pub use self::{
    enforcer::{Enforcer, Look, Mode},
    role::Role,
    tally::Concluded,
};
use crate::{
    deliver::{Deliverer, retire},
    metrics::Metrics,
    missed::Missed,
    observe::Observer,
    outcome::{JobOutcome, Outbox},
};

/// Jobs that are enforced at one time.
const CONCURRENCY: usize = 16;
/// Jobs that are judged before others may have the processor.
const AT_ONE_GO: usize = 256;
/// How often a new leader looks whether its watches have listed everything.
const SYNC_EVERY: Duration = Duration::from_millis(200);

/// What a leading reaper does.
pub struct Controller {
    /// What it observes.
    pub observer: Observer,
    /// What it has recorded.
    pub outbox: Outbox,
    /// How it enforces.
    pub enforcer: Arc<Enforcer>,
    /// How it delivers.
    pub deliverer: Deliverer,
    /// What makes up for what admission has missed; nothing where no Job may be written to.
    pub missed: Option<Missed>,
    /// How it is found by beats.
    pub role: Role,
    /// The outcomes, to be retired in time.
    pub outcomes: Api<JobOutcome>,
    /// How long outcomes are kept that nobody needs.
    pub outcome_retention: Duration,
    /// What Prometheus hears.
    pub metrics: Metrics,
}

impl Controller {
    /// Leads whenever this process is the leader, until the shutdown. Whatever is under way when leadership ends is
    /// dropped: every write has preconditions, and the next leader begins with the evidence.
    pub async fn run(&self, mut leadership: watch::Receiver<Leadership>, shutdown: Shutdown) {
        // This container may have been killed while it led, and the pod's label outlives it.
        self.role.resign().await;
        loop {
            let leads = leadership.borrow_and_update().leads();
            tokio::select! {
                () = shutdown.requested() => break,
                changed = leadership.changed() => if changed.is_err() { break },
                () = self.lead(), if leads => {}
            }
            if leads {
                self.step_down().await;
            }
        }
        self.step_down().await;
    }

    async fn step_down(&self) {
        self.metrics.leader.set(0);
        self.enforcer.forget_everything();
        self.observer.stop_listening();
        self.role.resign().await;
    }

    async fn lead(&self) {
        self.metrics.leader.set(1);
        let enforcing = async {
            self.role.take().await;
            self.observer.start_listening();
            while !(self.outbox.synced() && self.observer.synced()) {
                sleep(SYNC_EVERY).await;
            }
            self.enforce().await;
        };
        let exists = |job: &_| !self.observer.synced() || self.observer.snapshot(job).is_some();
        let retiring = retire(self.outcomes.clone(), self.outbox.clone(), self.outcome_retention, exists);
        let making_up = async {
            if let Some(missed) = &self.missed {
                Box::pin(missed.run()).await;
            }
        };
        tokio::join!(enforcing, self.deliverer.run(), retiring, making_up);
    }

    /// Enforces whatever is due, for ever.
    async fn enforce(&self) {
        let mut agenda = WorkQueue::default();
        let mut recorded = self.outbox.subscribe();
        let mut running = FuturesUnordered::new();
        loop {
            recorded.borrow_and_update();
            let now = Instant::now();
            for job in self.observer.take_changed().into_iter().chain(self.outbox.take_changed()) {
                agenda.touch(job, now);
            }
            // Before anything is written for any of them, it is known how all of them stand.
            for (surveyed, job) in agenda.promote_due(now).iter().enumerate() {
                self.enforcer.survey(job);
                if surveyed % AT_ONE_GO == AT_ONE_GO - 1 {
                    yield_now().await;
                }
            }
            for job in agenda.take(CONCURRENCY.saturating_sub(running.len())) {
                running.push(async move {
                    let done = self.enforcer.enforce(&job).await;
                    (job, done)
                });
            }
            let wake = agenda.next_due();
            tokio::select! {
                () = self.observer.changed() => {}
                // The outbox, which we hold, keeps the channel open.
                _ = recorded.changed() => {}
                Some((job, done)) = running.next() => agenda.done(&job, done, Instant::now(), fastrand::f64()),
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
    }
}
