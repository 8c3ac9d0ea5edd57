//! The reconciler: which Job is evaluated when, which steps follow, and what is kept in memory about each Job.
//!
//! ```text
//!  changed Jobs, deadlines ──enqueue──► WorkQueue ──promote_due──► preview ──► Breaker ◄── survey of the nodes
//!                                          ▲  └──────due─────────► evaluate ──► Evaluation { steps, verdict, requeue }
//!                                          └──────done───────────── StepReport ◄── the executor of the steps
//! ```
//!
//! A value without I/O and without a clock: the reaper drives it with what it observes, the simulator with what it simulates.
//! It uses two times. `now` is a [`Moment`] of the clock by which Jobs are judged; this clock pauses while signals do not arrive.
//! `at` is an [`Instant`] of the monotonic clock, by which work is scheduled.
//!
//! The table is evaluated once in [`Reconciler::preview`] and once in [`Reconciler::evaluate`]. Everything else reads the
//! [`Judgement`].

mod memory;
mod queue;
mod report;
mod verdict_cache;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use jobwarden_common::identity::{JobUid, PodUid};

use self::{
    memory::JobMemory,
    queue::{Completion, WorkQueue},
    verdict_cache::VerdictCache,
};
use crate::{
    evidence::{Evidence, JobIdentity},
    guard::{self, BREAKER, Breaker, BreakerReport, Hold, Holds, JobStatus, WorkerNode},
    health::SignalHealth,
    judge::{judge, preview},
    moment::Moment,
    outcome::{Episode, OutcomeName},
    plan::{
        plan, requeue_at,
        step::{Recorded, Step},
    },
    policy::{NotStarting, OnContainerExit, OnLost, Policy},
    snapshot::JobSnapshot,
    verdict::{JobVerdict, Judgement, Row},
};

pub use self::{report::StepReport, verdict_cache::Conclusion};

/// The requeue delay of a Job whose loss is held by a guard.
const HELD_REQUEUE: Duration = Duration::from_secs(2);

/// The same where the breaker holds it: the Jobs that it holds are enqueued when it releases anything, and this is in case one was missed.
const HELD_BY_BREAKER_REQUEUE: Duration = Duration::from_mins(1);

/// Whether verdicts are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Verdicts are enforced.
    Enforce,
    /// No Job and no pod is written to. Outcomes are recorded and delivered, a loss as `suspect`.
    ObserveOnly,
}

/// Decides which Job is evaluated when, and keeps the memory of each.
#[derive(Debug)]
pub struct Reconciler {
    mode: Mode,
    queue: WorkQueue,
    breaker: Breaker,
    memory: HashMap<JobUid, JobMemory>,
    verdicts: VerdictCache,
    held: BTreeMap<&'static str, usize>,
    /// See [`Recorded::judged_until`].
    judged_until: Moment,
}

/// The judgement of one Job and what holds it, without steps.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The verdicts and their signals.
    pub judgement: Judgement,
    /// What the guards hold.
    pub holds: Holds,
    /// The guard that holds a loss; `None` if there is no loss or no guard holds it.
    pub held: Option<Hold>,
}

/// The judgement of one Job and the steps that follow from it.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The verdicts and their signals.
    pub judgement: Judgement,
    /// What the guards hold.
    pub holds: Holds,
    /// The guard that holds a loss; `None` if there is no loss or no guard holds it.
    pub held: Option<Hold>,
    /// `held` differs from the previous evaluation.
    pub held_changed: bool,
    /// The steps to execute, in this order.
    pub steps: Vec<Step>,
    /// After how long the Job is evaluated again even if nothing changes; `None` if time alone changes nothing.
    pub requeue: Option<Duration>,
}

impl Reconciler {
    /// An empty reconciler.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            queue: WorkQueue::default(),
            breaker: Breaker::default(),
            memory: HashMap::new(),
            verdicts: VerdictCache::default(),
            held: BTreeMap::new(),
            judged_until: Moment::default(),
        }
    }

    /// Enqueues a Job that has changed. It is evaluated as soon as a worker is free.
    pub fn enqueue(&mut self, job: JobUid, at: Instant) {
        self.queue.enqueue(job, at);
    }

    /// The Jobs that have become due since the last call, and those that changed while they wait for a worker. The caller
    /// [`preview`](Self::preview)s each of them before it takes any with [`due`](Self::due), so that the breaker knows the status of
    /// all of them before anything is written for one.
    pub fn promote_due(&mut self, at: Instant) -> Vec<JobUid> {
        self.queue.promote_due(at)
    }

    /// Records the status of a Job for the breaker: whether its loss is predicted. `known` is `None` for a Job that is no longer
    /// known.
    pub fn preview(
        &mut self,
        job: &JobUid,
        known: Option<(&Evidence, &Policy)>,
        outcomes: &BTreeMap<OutcomeName, bool>,
        now: Moment,
    ) {
        let Some((evidence, policy)) = known else {
            self.breaker.update(job, "", JobStatus::default(), now);
            return;
        };
        let mut policy = policy.clone();
        self.restrict(&mut policy);
        let judgement = preview(evidence, &policy, now);
        let is_recorded = |pod: &PodUid| {
            outcomes.contains_key(&OutcomeName::attempt_failed(pod, Episode::of(pod.as_str(), outcomes)))
        };
        let status = JobStatus::of(evidence, &judgement, &policy, is_recorded);
        self.breaker.update(job, &evidence.job.identity.namespace, status, now);
        self.queue.set_preview_recheck(job, judgement.recheck_at);
        self.queue.set_namespace(job, &evidence.job.identity.namespace);
    }

    /// Takes up to `room` Jobs that are due; their namespaces take turns. The caller calls [`done`](Self::done) or [`vanished`](Self::vanished) for each.
    pub fn due(&mut self, room: usize) -> Vec<JobUid> {
        self.queue.take(room)
    }

    /// When the next Job becomes due, of those that are not due yet.
    pub fn next_due(&self) -> Option<Instant> {
        self.queue.next_due()
    }

    /// Evaluates a Job that was taken with [`due`](Self::due): its judgement at `now`, whether a guard holds a loss, and the steps that
    /// follow. The caller surveys the nodes before, if [`needs_survey`](Self::needs_survey) says so.
    pub fn evaluate(&mut self, snapshot: &mut JobSnapshot, health: SignalHealth, now: Moment) -> Evaluation {
        let Inspection { judgement, holds, held } = self.inspect(snapshot, health, now);
        let job = &snapshot.evidence.job.identity.uid;
        let held_changed = self.set_held(job, held.map(Hold::as_str));
        self.verdicts.record(job, &judgement, now);

        let memory = self.memory.get(job);
        let recorded = Recorded {
            outcomes: snapshot.outcomes.clone(),
            notified: memory.map(|memory| memory.notified.clone()).unwrap_or_default(),
            abandoned: memory.map(|memory| memory.abandoned.clone()).unwrap_or_default(),
            refused: memory.map(|memory| memory.refused.clone()).unwrap_or_default(),
            sidecar_faults: memory.map(|memory| memory.sidecar_faults.clone()).unwrap_or_default(),
            judged_until: self.judged_until.max(now),
        };
        self.judged_until = recorded.judged_until;
        let mut steps = plan(snapshot, &judgement, &holds, &recorded, now);
        if judgement.job == JobVerdict::Finished && snapshot.gone {
            steps.push(Step::Forget);
        }
        if self.mode == Mode::ObserveOnly {
            steps.retain(|step| !step.writes_workload());
        }
        let deadlines =
            requeue_at(snapshot, &judgement, &holds, now).into_iter().chain(self.queue.preview_recheck(job));
        let deadlines = deadlines.chain(Some(self.judged_until).filter(|until| now < *until));
        let requeue = deadlines.map(|moment| moment.since(now)).chain(held.map(held_requeue)).min();
        Evaluation { judgement, holds, held, held_changed, steps, requeue }
    }

    /// Judges a Job without recording anything: for the API. Replaces the policy of the snapshot with the one that the Job is judged
    /// by.
    pub fn inspect(&mut self, snapshot: &mut JobSnapshot, health: SignalHealth, now: Moment) -> Inspection {
        self.restrict(&mut snapshot.policy);
        let JobSnapshot { evidence, policy, .. } = snapshot;
        let judgement = judge(evidence, policy, now);
        let mut holds = guard::holds(evidence, policy, health, now);
        let JobIdentity { uid, namespace, .. } = &evidence.job.identity;
        for judged in judgement.judged_pods(evidence, policy) {
            let Some(reason) = judged.verdict.lost() else { continue };
            if let Some(hold) = self.breaker.hold(uid, namespace, judged.pod, reason, now) {
                holds.add(judged.pod.uid.clone(), hold);
            }
        }
        let held = guard::held(evidence, &judgement, policy, &holds);
        Inspection { judgement, holds, held }
    }

    /// Sets after how long what the breaker holds is released.
    pub fn set_hold_for(&mut self, hold_for: Duration) {
        self.breaker.set_hold_for(hold_for);
    }

    /// Whether the nodes have to be surveyed before anything is decided at `now`.
    pub fn needs_survey(&self, now: Moment) -> bool {
        self.breaker.needs_survey(now)
    }

    /// Surveys the nodes for the breaker. If it releases anything, the Jobs that it holds are evaluated again.
    pub fn survey<'a>(&mut self, nodes: impl Iterator<Item = WorkerNode<'a>>, now: Moment, at: Instant) {
        if self.breaker.survey(nodes, now) {
            self.enqueue_held_by_breaker(at);
        }
    }

    /// Releases everything that the breaker holds, and evaluates the Jobs again. Returns how many nodes and Jobs it held.
    pub fn release_breaker(&mut self, now: Moment, at: Instant) -> usize {
        let released = self.breaker.release(now);
        self.enqueue_held_by_breaker(at);
        released
    }

    /// The state of the breaker.
    pub fn breaker(&self) -> BreakerReport {
        self.breaker.report()
    }

    /// Whether the breaker has tripped anywhere.
    pub fn breaker_is_tripped(&self) -> bool {
        self.breaker.is_tripped()
    }

    fn enqueue_held_by_breaker(&mut self, at: Instant) {
        let mut held: Vec<_> =
            self.held_jobs().filter(|(_, guard)| *guard == BREAKER).map(|(job, _)| job.clone()).collect();
        held.sort_unstable();
        for job in held {
            self.queue.enqueue(job, at);
        }
    }

    /// Completes the work on a Job after its steps were executed or failed. `requeue` is that of the evaluation; `jitter` is a random
    /// number in `0..1` that spreads retries.
    pub fn done(&mut self, job: &JobUid, report: StepReport, requeue: Option<Duration>, at: Instant, jitter: f64) {
        let StepReport { notified, cleared, abandoned, refused, sidecar_faults, forget, failed } = report;
        if forget {
            self.forget(job);
            return self.queue.done(job, Completion::Forgotten, at, jitter);
        }
        let known = self.memory.get(job).map(|memory| &memory.refused);
        let refuses = known.is_some_and(|known| !known.is_empty());
        let refuses_more = refused.iter().any(|(subject, _)| known.is_none_or(|known| !known.contains_key(subject)));
        let nothing_new = notified.is_empty() && cleared.is_empty() && abandoned.is_empty() && refused.is_empty();
        if !nothing_new || !sidecar_faults.is_empty() || refuses {
            let memory = self.memory.entry(job.clone()).or_default();
            for key in &cleared {
                memory.notified.remove(key);
            }
            memory.notified.extend(notified);
            memory.abandoned.extend(abandoned);
            // What no step was refused for in this run is not refused any more, unless a failure came first.
            if !failed {
                memory.refused.clear();
            }
            memory.refused.extend(refused);
            memory.sidecar_faults.extend(sidecar_faults);
        }
        let completion = match failed {
            // What is refused is planned in another way, however often another step has failed before.
            true if refuses_more => Completion::Failed { recheck: Some(Duration::ZERO) },
            // While a loss is held, the Job is evaluated often; a step that fails is not tried as often.
            true => Completion::Failed { recheck: requeue.filter(|_| self.held(job).is_none()) },
            false => Completion::Done { requeue },
        };
        self.queue.done(job, completion, at, jitter);
    }

    /// Completes the work on a Job that was taken with [`due`](Self::due) and is no longer known.
    pub fn vanished(&mut self, job: &JobUid, at: Instant) {
        self.forget(job);
        self.queue.done(job, Completion::Forgotten, at, 0.0);
    }

    /// Clears everything because another reaper leads. That reaper starts from the objects in the API.
    pub fn clear(&mut self) {
        self.queue = WorkQueue::default();
        self.breaker.clear();
        self.memory.clear();
        self.verdicts.clear();
        self.held.values_mut().for_each(|jobs| *jobs = 0);
    }

    /// The last conclusion about a Job.
    pub fn conclusion(&self, job: &JobUid) -> Option<Conclusion> {
        self.verdicts.get(job)
    }

    /// The last conclusion about each Job.
    pub fn conclusions(&self) -> impl Iterator<Item = (&JobUid, Conclusion)> {
        self.verdicts.all()
    }

    /// Since when a Job has had its present verdict.
    pub fn verdict_since(&self, job: &JobUid) -> Option<Moment> {
        self.verdicts.since(job)
    }

    /// The guard that holds a loss of a Job.
    pub fn held(&self, job: &JobUid) -> Option<&'static str> {
        self.memory.get(job)?.held
    }

    /// All Jobs with a loss that a guard holds, with the guard.
    pub fn held_jobs(&self) -> impl Iterator<Item = (&JobUid, &'static str)> {
        self.memory.iter().filter_map(|(uid, memory)| Some((uid, memory.held?)))
    }

    /// How many Jobs each guard holds. A guard stays in the map when it holds none any more.
    pub fn held_by_guard(&self) -> &BTreeMap<&'static str, usize> {
        &self.held
    }

    /// How many Jobs have each verdict. A verdict stays in the map when no Job has it any more.
    pub fn jobs_by_verdict(&self) -> &BTreeMap<&'static str, usize> {
        self.verdicts.jobs_by_verdict()
    }

    /// How often each row has decided since the process started.
    pub fn decisions_by_row(&self) -> &BTreeMap<Row, u64> {
        self.verdicts.decisions_by_row()
    }

    /// Removes the memory of a Job that is no longer known. The work queue removes its item by itself.
    fn forget(&mut self, job: &JobUid) {
        // What the last preview saw may be older than what the evaluation saw.
        self.breaker.update(job, "", JobStatus::default(), self.judged_until);
        self.verdicts.forget(job);
        self.set_held(job, None);
        self.memory.remove(job);
    }

    /// Records which guard holds a loss of a Job. Returns whether that has changed.
    fn set_held(&mut self, job: &JobUid, guard: Option<&'static str>) -> bool {
        let before = self.memory.get(job).and_then(|memory| memory.held);
        if before == guard {
            return false;
        }
        self.memory.entry(job.clone()).or_default().held = guard;
        if let Some(jobs) = before.and_then(|before| self.held.get_mut(before)) {
            *jobs -= 1;
        }
        if let Some(guard) = guard {
            *self.held.entry(guard).or_default() += 1;
        }
        true
    }

    /// Restricts a policy to reports if this reaper only observes.
    fn restrict(&self, policy: &mut Policy) {
        if self.mode == Mode::ObserveOnly {
            (policy.on_lost, policy.not_starting) = (OnLost::Report, NotStarting::Report);
            policy.on_container_exit = OnContainerExit::Wait;
        }
    }
}

/// The requeue delay of a Job whose loss is held.
fn held_requeue(hold: Hold) -> Duration {
    match hold {
        Hold::Breaker { .. } => HELD_BY_BREAKER_REQUEUE,
        Hold::WarmUp { .. } | Hold::SelfBeat | Hold::WatchDown => HELD_REQUEUE,
    }
}
