//! The controller: connects the modules, and runs them while this process is the leader.
//!
//! ```text
//!  observer.changed ─┐
//!  outbox changed   ─┼─► work queue ──due Jobs──► enforcer: snapshot → evaluate → execute ─┐
//!  deadlines        ─┘        ▲─────────────────────── requeue ────────────────────────────┘
//! ```

mod enforcer;
mod metrics;
mod role;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use jobwarden_serve::{lease::Leadership, shutdown::Shutdown};
use kube::Api;
use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

pub use self::{
    enforcer::{Enforcer, Inspected},
    role::Role,
};
use crate::{
    backfill::Backfill,
    deliver::{Deliverer, Retention, collect_garbage},
    metrics::Metrics,
    observer::Observer,
    orphans::Orphans,
    outbox::{JobOutcome, Outbox},
    unfollowed::Unfollowed,
};

/// Jobs that are reconciled concurrently.
const CONCURRENCY: usize = 16;
/// Jobs that are previewed before the task yields.
const PREVIEW_BATCH: usize = 256;
/// How often the nodes are surveyed for the breaker, whether any Job is due or not.
const SURVEY_INTERVAL: Duration = Duration::from_secs(1);
/// How often a new leader checks whether its watches have listed.
const SYNC_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Everything that runs while this process is the leader.
pub struct Controller {
    /// The observed state.
    pub observer: Observer,
    /// The recorded outcomes.
    pub outbox: Outbox,
    /// Reconciles Jobs.
    pub enforcer: Arc<Enforcer>,
    /// Delivers outcomes.
    pub deliverer: Deliverer,
    /// Labels objects that were created without admission; `None` with `--observe-only`.
    pub backfill: Option<Backfill>,
    /// Takes up Jobs beyond the limits of their namespaces.
    pub unfollowed: Unfollowed,
    /// Deletes ended pods that were left behind by their Jobs.
    pub orphans: Orphans,
    /// Routes beats to the leader.
    pub role: Role,
    /// The outcomes, to delete them after their retention.
    pub outcomes: Api<JobOutcome>,
    /// How many settled outcomes are kept, and for how long.
    pub retention: Retention,
    /// Metrics of leadership, steps and deliveries.
    pub metrics: Metrics,
}

impl Controller {
    /// Runs whenever this process is the leader, until the shutdown. When leadership ends, running work is dropped: every write
    /// has preconditions, and the next leader starts from the evidence.
    pub async fn run(&self, mut leadership: watch::Receiver<Leadership>, shutdown: Shutdown) {
        // The label of the pod remains if the container was killed while it was the leader.
        self.role.release().await;
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
        self.enforcer.clear();
        self.observer.stop_listening();
        self.role.release().await;
    }

    async fn lead(&self) {
        self.metrics.leader.set(1);
        let enforcing = async {
            self.role.claim().await;
            self.observer.start_listening();
            while !(self.outbox.synced() && self.observer.synced()) {
                sleep(SYNC_CHECK_INTERVAL).await;
            }
            self.enforce().await;
        };
        let exists = |job: &_| !self.observer.synced() || self.observer.identity(job).is_some();
        let collecting = collect_garbage(self.outcomes.clone(), self.outbox.clone(), self.retention, exists);
        let backfilling = async {
            let Some(backfill) = &self.backfill else { return };
            let mut inconsistencies = self.observer.inconsistencies();
            loop {
                // Its watches are as little to be relied upon as the one that was found to be inconsistent.
                tokio::select! {
                    () = Box::pin(backfill.run()) => {}
                    _ = inconsistencies.changed() => {}
                }
            }
        };
        let recording = async { tokio::join!(self.enforcer.coalesce(), self.unfollowed.run(), self.orphans.run()) };
        tokio::join!(enforcing, self.deliverer.run(), recording, collecting, backfilling);
    }

    /// Reconciles due Jobs until the future is dropped.
    async fn enforce(&self) {
        let mut recorded = self.outbox.subscribe();
        let mut running = FuturesUnordered::new();
        let mut surveys = interval(SURVEY_INTERVAL);
        surveys.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.enforcer.survey();
            recorded.borrow_and_update();
            let now = Instant::now();
            let changed = self.observer.take_changed().into_iter().chain(self.outbox.take_changed());
            let due = {
                let mut reconciler = self.enforcer.reconciler();
                changed.for_each(|job| reconciler.enqueue(job, now.into_std()));
                reconciler.promote_due(now.into_std())
            };
            for (previewed, job) in due.iter().enumerate() {
                self.enforcer.preview(job);
                if previewed % PREVIEW_BATCH == PREVIEW_BATCH - 1 {
                    yield_now().await;
                }
            }
            let free = CONCURRENCY.saturating_sub(running.len());
            let (taken, wake) = {
                let mut reconciler = self.enforcer.reconciler();
                (reconciler.due(free), reconciler.next_due().map(Instant::from_std))
            };
            for job in taken {
                running.push(async move { self.enforcer.enforce(&job).await });
            }
            tokio::select! {
                () = self.observer.changed() => {}
                // The channel stays open because the controller holds the outbox.
                _ = recorded.changed() => {}
                Some(()) = running.next() => {}
                () = self.enforcer.breaker_released() => {}
                _ = surveys.tick() => {}
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
    }
}
