//! The controller: wires the rooms together, and runs them while this process leads.
//!
//! ```text
//!  observer.changed ─┐
//!  outbox changed   ─┼─► agenda ──due Jobs──► enforcer: snapshot → judge → plan → execute ─┐
//!  deadlines        ─┘     ▲──────────────────────── when to look again ──────────────┘
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
    time::{Instant, sleep, sleep_until},
};

pub use self::{
    enforcer::{Enforcer, Inspected},
    role::Role,
};
use crate::{
    backfill::Backfill,
    deliver::{Deliverer, retire},
    metrics::Metrics,
    observer::Observer,
    outbox::{JobOutcome, Outbox},
};

/// Jobs that are enforced at one time.
const CONCURRENCY: usize = 16;
/// Jobs that are previewed before other tasks get the processor.
const BATCH: usize = 256;
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
    /// Labels what admission has missed; `None` where no Job may be written to.
    pub backfill: Option<Backfill>,
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
        self.enforcer.clear();
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
        let backfilling = async {
            if let Some(backfill) = &self.backfill {
                Box::pin(backfill.run()).await;
            }
        };
        tokio::join!(enforcing, self.deliverer.run(), retiring, backfilling);
    }

    /// Enforces whatever is due, until it is dropped.
    async fn enforce(&self) {
        let mut recorded = self.outbox.subscribe();
        let mut running = FuturesUnordered::new();
        loop {
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
                if previewed % BATCH == BATCH - 1 {
                    yield_now().await;
                }
            }
            let room = CONCURRENCY.saturating_sub(running.len());
            let (taken, wake) = {
                let mut reconciler = self.enforcer.reconciler();
                (reconciler.due(room), reconciler.next_due().map(Instant::from_std))
            };
            for job in taken {
                running.push(async move { self.enforcer.enforce(&job).await });
            }
            tokio::select! {
                () = self.observer.changed() => {}
                // The outbox, which this controller holds, keeps the channel open.
                _ = recorded.changed() => {}
                Some(()) = running.next() => {}
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
    }
}
