//! The enforcer: evaluates due Jobs, executes the resulting steps, and reports their result to the reconciler.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jobwarden_common::identity::JobUid;
use jobwarden_core::{
    evidence::JobIdentity,
    guard::Hold,
    logs::LogRules,
    moment::Moment,
    reconcile::{Evaluation, Inspection, Mode, Reconciler, StepReport},
    snapshot::JobSnapshot,
};
use tokio::{
    sync::Notify,
    time::{Duration, Instant, timeout},
};

use crate::{execute::Executor, observer::Observer, outbox::Outbox};

/// How long the steps of one plan may take. The remaining steps are planned again.
const STEPS_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a Job whose outcome waits to be recorded with others is left alone, if nothing enqueues it before.
const WAITING_REQUEUE: Duration = Duration::from_mins(1);

/// Drives the [`Reconciler`] with the observed state and the recorded outcomes, and executes its steps.
pub struct Enforcer {
    observer: Observer,
    outbox: Outbox,
    executor: Executor,
    reconciler: Mutex<Reconciler>,
    released: Notify,
}

/// The snapshot and the verdict of one Job at one moment.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The snapshot of the Job.
    pub snapshot: JobSnapshot,
    /// The verdict and the guards.
    pub inspection: Inspection,
    /// The moment of the inspection.
    pub now: Moment,
}

impl Enforcer {
    /// Evaluates Jobs of `observer`, and executes their steps with `executor`.
    pub fn new(observer: Observer, outbox: Outbox, executor: Executor, mode: Mode) -> Self {
        Self { observer, outbox, executor, reconciler: Mutex::new(Reconciler::new(mode)), released: Notify::new() }
    }

    /// Evaluates a Job without side effects; `None` if it is not in the index.
    pub fn inspect(&self, job: &JobUid) -> Option<Inspected> {
        let mut snapshot = self.snapshot(job)?;
        let (now, health) = (self.observer.now(), self.observer.health());
        let inspection = self.reconciler().inspect(&mut snapshot, health, now);
        Some(Inspected { snapshot, inspection, now })
    }

    /// Surveys the nodes for the breaker, unless it has done so a moment ago.
    pub(crate) fn survey(&self) {
        let mut reconciler = self.reconciler();
        if reconciler.needs_survey(self.observer.now()) {
            self.observer.survey(|nodes, now| reconciler.survey(nodes, now, Instant::now().into_std()));
        }
    }

    /// Sets after how long what the breaker holds is released.
    pub fn set_hold_for(&self, hold_for: Duration) {
        self.reconciler().set_hold_for(hold_for);
    }

    /// Sets what of a log an outcome has; `None` for nothing.
    pub fn set_log_rules(&self, rules: Option<LogRules>) {
        self.executor.set_log_rules(rules);
    }

    /// Releases everything that the breaker holds. Returns how many nodes and Jobs it held.
    pub fn release_breaker(&self) -> usize {
        let now = self.observer.now();
        let released = self.reconciler().release_breaker(now, Instant::now().into_std());
        self.released.notify_one();
        released
    }

    /// Waits until somebody has released the breaker.
    pub(crate) async fn breaker_released(&self) {
        self.released.notified().await;
    }

    /// Records the state of a Job for the breaker.
    pub(crate) fn preview(&self, job: &JobUid) {
        let now = self.observer.now();
        let known = self.observer.evidence(job);
        let known = known.as_ref().map(|(evidence, policy)| (evidence, policy));
        self.reconciler().preview(job, known, &self.outbox.of_job(job), now);
    }

    /// Evaluates a due Job, and executes the resulting steps.
    pub(crate) async fn enforce(&self, job: &JobUid) {
        let Some(mut snapshot) = self.snapshot(job) else {
            self.outbox.forget(job);
            return self.reconciler().vanished(job, Instant::now().into_std());
        };
        if self.outbox.waits(job) {
            // Its outcome is recorded together with others; then it is enqueued again.
            let (report, at) = (StepReport::default(), Instant::now().into_std());
            return self.reconciler().done(job, report, Some(WAITING_REQUEUE), at, fastrand::f64());
        }
        self.survey();
        let (now, health) = (self.observer.now(), self.observer.health());
        let evaluation = self.reconciler().evaluate(&mut snapshot, health, now);
        let identity = &snapshot.evidence.job.identity;
        log_hold(identity, &evaluation);
        let Evaluation { steps, requeue, .. } = evaluation;
        let report = timeout(STEPS_TIMEOUT, self.executor.run(identity, steps)).await.unwrap_or_else(|_| {
            let (job, namespace) = (&identity.name, &identity.namespace);
            tracing::warn!(job, namespace, "steps timed out; retrying with backoff");
            StepReport { failed: true, ..StepReport::default() }
        });
        for pod in &report.abandoned {
            self.observer.abandon(pod);
        }
        if report.forget {
            self.observer.forget(job);
            self.outbox.forget(job);
        }
        self.reconciler().done(job, report, requeue, Instant::now().into_std(), fastrand::f64());
    }

    /// Records together what is beyond the share of a namespace, until the future is dropped.
    pub(super) async fn coalesce(&self) {
        self.executor.coalesce().await;
    }

    /// Drops the queue and the memory, because this process is not the leader any more.
    pub(super) fn clear(&self) {
        self.reconciler().clear();
        self.outbox.drop_waiting();
    }

    /// The reconciler. The guard must not be held across an await.
    pub(crate) fn reconciler(&self) -> MutexGuard<'_, Reconciler> {
        // After a panic the reconciler is still usable: the next evaluation of a Job corrects its entries.
        self.reconciler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self, job: &JobUid) -> Option<JobSnapshot> {
        let snapshot = self.observer.snapshot(job)?;
        Some(JobSnapshot { outcomes: self.outbox.of_job(job), ..snapshot })
    }
}

fn log_hold(identity: &JobIdentity, evaluation: &Evaluation) {
    let (job, namespace) = (&identity.name, &identity.namespace);
    match evaluation.held.map(Hold::as_str) {
        _ if !evaluation.held_changed => {}
        Some(guard) => tracing::warn!(job, namespace, guard, "a guard holds the loss of this Job"),
        None => tracing::info!(job, namespace, "the loss of this Job is not held any more"),
    }
}
