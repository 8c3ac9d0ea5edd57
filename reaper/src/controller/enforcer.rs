//! The enforcer: takes the Jobs that are due, executes the steps that follow, and reports what came of them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jobwarden_common::identity::JobUid;
use jobwarden_core::{
    evidence::JobIdentity,
    guard::Hold,
    moment::Moment,
    reconcile::{Evaluation, Inspection, Mode, Reconciler, StepReport},
    snapshot::JobSnapshot,
};
use tokio::time::{Duration, Instant, timeout};

use crate::{execute::Executor, observer::Observer, outbox::Outbox};

/// How long the steps of one plan may take. Those that are left are planned again.
const STEPS_TIMEOUT: Duration = Duration::from_secs(30);

/// Drives the [`Reconciler`] with what is observed and recorded, and executes what it says.
pub struct Enforcer {
    observer: Observer,
    outbox: Outbox,
    executor: Executor,
    reconciler: Mutex<Reconciler>,
}

/// What is known and concluded of one Job at one moment.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// What is known.
    pub snapshot: JobSnapshot,
    /// What is concluded.
    pub inspection: Inspection,
    /// When.
    pub now: Moment,
}

impl Enforcer {
    /// Evaluates what `observer` knows, and executes what follows by `executor`.
    pub fn new(observer: Observer, outbox: Outbox, executor: Executor, mode: Mode) -> Self {
        Self { observer, outbox, executor, reconciler: Mutex::new(Reconciler::new(mode)) }
    }

    /// What is concluded of a Job, without any consequence; `None` if it is not known.
    pub fn inspect(&self, job: &JobUid) -> Option<Inspected> {
        let mut snapshot = self.snapshot(job)?;
        let (now, health) = (self.observer.now(), self.observer.health());
        let nodes_in = |zone: &str| self.observer.nodes_in(zone);
        let inspection = self.reconciler().inspect(&mut snapshot, health, nodes_in, now);
        Some(Inspected { snapshot, inspection, now })
    }

    /// Records for the breaker how a Job stands.
    pub(crate) fn preview(&self, job: &JobUid) {
        let now = self.observer.now();
        let known = self.observer.evidence(job);
        let known = known.as_ref().map(|(evidence, policy)| (evidence, policy));
        self.reconciler().preview(job, known, &self.outbox.of_job(job), now);
    }

    /// Evaluates a Job that is due, and takes the steps that follow.
    pub(crate) async fn enforce(&self, job: &JobUid) {
        let Some(mut snapshot) = self.snapshot(job) else {
            return self.reconciler().vanished(job, Instant::now().into_std());
        };
        let (now, health) = (self.observer.now(), self.observer.health());
        let nodes_in = |zone: &str| self.observer.nodes_in(zone);
        let evaluation = self.reconciler().evaluate(&mut snapshot, health, nodes_in, now);
        let identity = &snapshot.evidence.job.identity;
        log_hold(identity, &evaluation);
        let Evaluation { steps, requeue, .. } = evaluation;
        let report = timeout(STEPS_TIMEOUT, self.executor.run(identity, steps)).await.unwrap_or_else(|_| {
            let (job, namespace) = (&identity.name, &identity.namespace);
            tracing::warn!(job, namespace, "the API server did not answer in time; retrying with backoff");
            StepReport { failed: true, ..StepReport::default() }
        });
        for pod in &report.abandoned {
            self.observer.abandon(pod);
        }
        if report.forget {
            self.observer.forget(job);
        }
        self.reconciler().done(job, report, requeue, Instant::now().into_std(), fastrand::f64());
    }

    /// Another reaper leads.
    pub(super) fn clear(&self) {
        self.reconciler().clear();
    }

    /// What is scheduled, concluded and held. Not to be kept over an await.
    pub(crate) fn reconciler(&self) -> MutexGuard<'_, Reconciler> {
        // After a panic elsewhere its maps are whole: what they miss is corrected when the Job is next evaluated.
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
        None => tracing::info!(job, namespace, "no guard holds a loss of this Job any more"),
    }
}
