//! Driving the reconciler, as the controller of a real reaper does: enqueue what has changed, preview what is due, evaluate as
//! many Jobs as there is room for.

use std::time::Duration;

use jiff::Timestamp;
use jobwarden_common::identity::JobUid;
use jobwarden_core::{
    reconcile::{Evaluation, StepReport},
    snapshot::JobSnapshot,
};

use crate::{
    laws::evaluations::EvaluatedJob,
    state::reaper::Execution,
    world::{Event, World},
};

/// From a change to the evaluation of the Job: the reaper's other tasks get the processor first.
const LATENCY: Duration = Duration::from_millis(20);
/// How many plans are executed at one time: `CONCURRENCY` of the reaper's controller.
const CONCURRENCY: usize = 16;
/// How often the nodes are surveyed while the breaker has tripped. At other times they are before every evaluation.
const SURVEY_EVERY: Duration = Duration::from_secs(1);

impl World<'_> {
    /// Enqueues the Jobs whose evidence has changed.
    pub(super) fn enqueue_changed(&mut self, reaper: usize) {
        // The order of the index is that of a hash table; here it is the same on every run.
        let mut changed = self.reapers[reaper].index.take_changed();
        changed.sort_unstable();
        for uid in changed {
            self.enqueue(reaper, uid);
        }
    }

    /// Something about a Job has changed.
    pub(super) fn enqueue(&mut self, reaper: usize, uid: JobUid) {
        let (at, now) = (self.instant(), self.now);
        let Some(job) = self.job_number(&uid) else { return };
        let it = &mut self.reapers[reaper];
        it.evaluations[job].changed(now);
        it.reconciler.enqueue(uid, at);
        self.wake(reaper, now + LATENCY);
    }

    fn job_number(&self, uid: &JobUid) -> Option<usize> {
        self.jobs.iter().position(|job| job.uid == *uid)
    }

    /// Asks the reconciler at `at`, or earlier if that is planned already.
    fn wake(&mut self, reaper: usize, at: Duration) {
        let it = &mut self.reapers[reaper];
        if it.wake_at.is_none_or(|planned| at < planned) {
            it.wake_at = Some(at);
            let life = it.life;
            self.at(at, Event::Reconcile { reaper, life });
        }
    }

    /// Asks the reconciler when its next Job is due.
    fn wake_when_due(&mut self, reaper: usize) {
        let Some(due) = self.reapers[reaper].reconciler.next_due() else { return };
        let due = due.saturating_duration_since(self.start);
        self.wake(reaper, if due > self.now { due } else { self.now + LATENCY });
    }

    /// Previews the Jobs that are due, and evaluates as many as there is room for.
    pub(crate) fn reconcile(&mut self, reaper: usize, life: u32) {
        let at = self.instant();
        let it = &mut self.reapers[reaper];
        if it.life != life || !it.enforcing || it.wake_at != Some(self.now) {
            return;
        }
        it.wake_at = None;
        self.survey(reaper);
        let it = &mut self.reapers[reaper];
        for job in it.reconciler.promote_due(at) {
            self.preview(reaper, &job);
        }
        let it = &mut self.reapers[reaper];
        let room = CONCURRENCY.saturating_sub(it.executions.len());
        let taken = it.reconciler.due(room);
        let more_may_wait = taken.len() == room;
        for job in taken {
            self.evaluate(reaper, &job);
        }
        if more_may_wait && self.reapers[reaper].executions.len() < CONCURRENCY {
            self.wake(reaper, self.now + LATENCY);
        }
        self.wake_when_due(reaper);
        if self.reapers[reaper].reconciler.breaker_is_tripped() {
            self.wake(reaper, self.now + SURVEY_EVERY);
        }
    }

    /// Surveys the nodes for the breaker.
    fn survey(&mut self, reaper: usize) {
        let at = self.instant();
        let now = self.observe(reaper, |_, now| now);
        let it = &mut self.reapers[reaper];
        if it.reconciler.needs_survey(now) {
            let before = it.reconciler.breaker_is_tripped();
            it.reconciler.survey(it.index.worker_nodes(), now, at);
            let after = it.reconciler.breaker_is_tripped();
            if before != after {
                let report = it.reconciler.breaker();
                self.log(|| format!("the breaker {}: {report:?}", if after { "trips" } else { "releases" }));
            }
        }
        self.sample_silence();
    }

    fn preview(&mut self, reaper: usize, uid: &JobUid) {
        let Some(job) = self.job_number(uid) else { return };
        let now = self.observe(reaper, |_, now| now);
        let it = &mut self.reapers[reaper];
        let known = it.index.evidence(uid);
        let known = known.as_ref().map(|(evidence, policy)| (evidence, policy));
        it.reconciler.preview(uid, known, &self.jobs[job].outcomes, now);
    }

    fn evaluate(&mut self, reaper: usize, uid: &JobUid) {
        let at = self.instant();
        let Some(job) = self.job_number(uid) else { return };
        self.survey(reaper);
        let it = &mut self.reapers[reaper];
        let (moment, health) = (it.signals.now(at), it.signals.health(at));
        // No law reads the timeline.
        let Some(snapshot) = it.index.snapshot(uid, moment, |_| Timestamp::UNIX_EPOCH) else {
            it.evaluations[job].forget();
            return it.reconciler.vanished(uid, at);
        };
        let mut snapshot = JobSnapshot { outcomes: self.jobs[job].outcomes.clone(), ..snapshot };
        let evaluation = it.reconciler.evaluate(&mut snapshot, health, moment);
        let looked_at = EvaluatedJob { reaper, job, snapshot: &snapshot, evaluation: &evaluation, moment };
        self.check_evaluation(&looked_at);

        let Evaluation { steps, requeue, .. } = evaluation;
        if steps.is_empty() {
            return self.done(reaper, job, StepReport::default(), requeue);
        }
        let execution = Execution::new(snapshot.evidence.job.identity, steps, requeue);
        self.reapers[reaper].executions.insert(job, execution);
        self.step_soon(reaper, job);
    }

    /// The steps of a plan have been taken, as far as that was possible.
    pub(super) fn done(&mut self, reaper: usize, job: usize, report: StepReport, requeue: Option<Duration>) {
        let uid = self.jobs[job].uid.clone();
        for pod in &report.abandoned {
            self.observe(reaper, |index, _| index.abandon(pod));
        }
        let it = &mut self.reapers[reaper];
        it.evaluations[job].executed(report.failed, self.now);
        if report.forget {
            it.evaluations[job].forget();
            self.observe(reaper, |index, _| index.forget_job(&uid));
        }
        let at = self.instant();
        let it = &mut self.reapers[reaper];
        let jitter = it.dice.fraction();
        it.reconciler.done(&uid, report, requeue, at, jitter);
        self.wake_when_due(reaper);
    }

    /// A plan has been executed, which makes room for another.
    pub(super) fn wake_for_room(&mut self, reaper: usize) {
        self.wake(reaper, self.now + LATENCY);
    }
}
