//! The reconciler: which Job is evaluated when, what follows from it, and what is remembered of each Job.
//!
//! ```text
//!  changed Jobs, deadlines ──enqueue──► WorkQueue ──promote_due──► preview ──► Breaker
//!                                          ▲  └──────due─────────► evaluate ──► Evaluation { steps, verdict, requeue }
//!                                          └──────done───────────── StepReport ◄── whoever takes the steps
//! ```
//!
//! A value without I/O and without a clock: the reaper drives it with what it observes, the simulator with what it simulates.
//! It uses two times. `now` is a [`Moment`] of the clock by which Jobs are judged and which pauses while signals do not arrive;
//! `at` is an [`Instant`] of the monotonic clock, by which work is scheduled.

mod memory;
mod queue;
mod report;
mod verdict_cache;

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use jobwarden_common::identity::JobUid;

use self::{
    memory::JobMemory,
    queue::{Completion, WorkQueue},
    verdict_cache::VerdictCache,
};
use crate::{
    evidence::Evidence,
    guard::{self, Breaker, Hold, JobStatus},
    health::SignalHealth,
    judge::{judge, preview},
    moment::Moment,
    outcome::OutcomeName,
    plan::{
        plan, requeue_at,
        step::{Recorded, Step},
    },
    policy::{NotStarting, OnLost, Policy},
    snapshot::JobSnapshot,
    verdict::{JobVerdict, Judgement, Row},
};

pub use self::{report::StepReport, verdict_cache::Conclusion};

/// How soon a Job is evaluated again whose loss is held by a guard that does not say for how long.
const HELD_REQUEUE: Duration = Duration::from_secs(2);

/// The same per Job that the breaker counts as lost: it releases only when many of them have been evaluated again.
const HELD_REQUEUE_PER_LOST_JOB: Duration = Duration::from_millis(2);

/// Whether verdicts are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Verdicts are enforced.
    Enforce,
    /// No Job and no pod is written to. Outcomes are recorded and delivered, a loss as `suspect`.
    ObserveOnly,
}

/// Which Job is evaluated when, and what is remembered of each.
#[derive(Debug)]
pub struct Reconciler {
    mode: Mode,
    queue: WorkQueue,
    breaker: Breaker,
    memory: HashMap<JobUid, JobMemory>,
    verdicts: VerdictCache,
    held: BTreeMap<&'static str, usize>,
}

/// What is concluded of one Job at one moment, without anything that follows from it.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What is concluded.
    pub judgement: Judgement,
    /// What would hold a loss, whether there is one or not.
    pub hold: Option<Hold>,
    /// What holds a loss, if there is one and a guard holds it.
    pub held: Option<Hold>,
}

/// What is concluded of one Job, and what follows from it.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// What is concluded, and by which row.
    pub judgement: Judgement,
    /// What would hold a loss, whether there is one or not.
    pub hold: Option<Hold>,
    /// What holds a loss, if there is one and a guard holds it.
    pub held: Option<Hold>,
    /// `held` differs from the evaluation before.
    pub held_changed: bool,
    /// The steps to take, in this order.
    pub steps: Vec<Step>,
    /// After how long the Job is evaluated again although nothing has changed; `None` if time alone changes nothing.
    pub requeue: Option<Duration>,
}

impl Reconciler {
    /// Knows nothing yet.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            queue: WorkQueue::default(),
            breaker: Breaker::default(),
            memory: HashMap::new(),
            verdicts: VerdictCache::default(),
            held: BTreeMap::new(),
        }
    }

    /// Something about a Job has changed: it is evaluated as soon as there is room.
    pub fn enqueue(&mut self, job: JobUid, at: Instant) {
        self.queue.enqueue(job, at);
    }

    /// The Jobs whose time has come since this was last called, and those that changed while they wait for room. Each is
    /// [`preview`](Self::preview)ed before any is taken by [`due`](Self::due): before something is written for one of them, it is
    /// known how all of them stand.
    pub fn promote_due(&mut self, at: Instant) -> Vec<JobUid> {
        self.queue.promote_due(at)
    }

    /// Records for the breaker how a Job stands: whether its loss is in sight. `known` is `None` for a Job that is not known any
    /// more.
    pub fn preview(
        &mut self,
        job: &JobUid,
        known: Option<(&Evidence, &Policy)>,
        outcomes: &BTreeMap<OutcomeName, bool>,
        now: Moment,
    ) {
        let Some((evidence, policy)) = known else {
            self.breaker.update(job, JobStatus::default(), now);
            return;
        };
        let mut policy = policy.clone();
        self.restrict(&mut policy);
        let judgement = preview(evidence, &policy, now);
        let is_recorded = |pod: &_| outcomes.contains_key(&OutcomeName::attempt_failed(pod));
        let status = JobStatus::of(evidence, &judgement, &policy, is_recorded);
        self.breaker.update(job, status, now);
        self.queue.set_preview_recheck(job, judgement.recheck_at);
    }

    /// Takes up to `room` Jobs that are due. [`done`](Self::done) or [`forget`](Self::forget) is called for each.
    pub fn due(&mut self, room: usize) -> Vec<JobUid> {
        self.queue.take(room)
    }

    /// When the next Job is due, of those whose time has not come.
    pub fn next_due(&self) -> Option<Instant> {
        self.queue.next_due()
    }

    /// Evaluates a Job that was taken by [`due`](Self::due): what is true of it at `now`, whether a guard holds a loss, and the
    /// steps that follow. `nodes_in` says how many nodes a zone has.
    pub fn evaluate(
        &mut self,
        snapshot: &mut JobSnapshot,
        health: SignalHealth,
        nodes_in: impl Fn(&str) -> usize,
        now: Moment,
    ) -> Evaluation {
        let Inspection { judgement, hold, held } = self.inspect(snapshot, health, nodes_in, now);
        let job = &snapshot.evidence.job.identity.uid;
        if hold.is_none() && guard::is_loss(&judgement, &snapshot.policy) {
            self.breaker.record_acted_on(job, now, now + snapshot.policy.lost_after);
        }
        let held_changed = self.set_held(job, held.map(Hold::as_str));
        self.verdicts.record(job, &judgement, now);

        let memory = self.memory.get(job);
        let recorded = Recorded {
            outcomes: snapshot.outcomes.clone(),
            notified: memory.map(|memory| memory.notified.clone()).unwrap_or_default(),
            abandoned: memory.map(|memory| memory.abandoned.clone()).unwrap_or_default(),
        };
        let mut steps = plan(snapshot, &judgement, hold, &recorded, now);
        if judgement.job == JobVerdict::Finished && snapshot.gone {
            steps.push(Step::Forget);
        }
        if self.mode == Mode::ObserveOnly {
            steps.retain(|step| !step.writes_workload());
        }
        let by_time = requeue_at(snapshot, &judgement, hold, now).into_iter().chain(self.queue.preview_recheck(job));
        let requeue = by_time.map(|moment| moment.since(now)).chain(held.map(held_requeue)).min();
        Evaluation { judgement, hold, held, held_changed, steps, requeue }
    }

    /// What is concluded of a Job, without recording anything of it: for people who ask. The policy of the snapshot becomes the
    /// one that the Job is judged by.
    pub fn inspect(
        &mut self,
        snapshot: &mut JobSnapshot,
        health: SignalHealth,
        nodes_in: impl Fn(&str) -> usize,
        now: Moment,
    ) -> Inspection {
        self.restrict(&mut snapshot.policy);
        let JobSnapshot { evidence, policy, .. } = snapshot;
        let judgement = judge(evidence, policy, now);
        let hold = guard::hold(evidence, policy, health, now)
            .or_else(|| self.breaker.hold(&evidence.job.identity.uid, nodes_in, now));
        let held = hold.filter(|hold| guard::is_held(evidence, &judgement, policy, *hold));
        Inspection { judgement, hold, held }
    }

    /// The steps of a Job have been taken, as far as that was possible. `requeue` is what the evaluation said; `jitter` is a
    /// random number in `0..1` that spreads retries.
    pub fn done(&mut self, job: &JobUid, report: StepReport, requeue: Option<Duration>, at: Instant, jitter: f64) {
        let StepReport { notified, cleared, abandoned, forget, failed } = report;
        if forget {
            self.forget(job);
            return self.queue.done(job, Completion::Forgotten, at, jitter);
        }
        if !notified.is_empty() || !cleared.is_empty() || !abandoned.is_empty() {
            let memory = self.memory.entry(job.clone()).or_default();
            memory.notified.retain(|key| !cleared.contains(key));
            memory.notified.extend(notified);
            memory.abandoned.extend(abandoned);
        }
        let completion = if failed { Completion::Failed } else { Completion::Done { requeue } };
        self.queue.done(job, completion, at, jitter);
    }

    /// A Job that was taken by [`due`](Self::due) is not known any more.
    pub fn vanished(&mut self, job: &JobUid, at: Instant) {
        self.forget(job);
        self.queue.done(job, Completion::Forgotten, at, 0.0);
    }

    /// Another reaper leads: what was recorded and notified is for that one to find out.
    pub fn clear(&mut self) {
        self.queue = WorkQueue::default();
        self.breaker.clear();
        self.memory.clear();
        self.verdicts.clear();
        self.held.values_mut().for_each(|jobs| *jobs = 0);
    }

    /// What was last concluded of each Job.
    pub fn conclusions(&self) -> impl Iterator<Item = (&JobUid, Conclusion)> {
        self.verdicts.all()
    }

    /// Since when the verdict on a Job is what it is.
    pub fn verdict_since(&self, job: &JobUid) -> Option<Moment> {
        self.verdicts.since(job)
    }

    /// The guard that holds a loss of a Job.
    pub fn held(&self, job: &JobUid) -> Option<&'static str> {
        self.memory.get(job)?.held
    }

    /// All Jobs with a loss that a guard holds, and which guard does.
    pub fn held_jobs(&self) -> impl Iterator<Item = (&JobUid, &'static str)> {
        self.memory.iter().filter_map(|(uid, memory)| Some((uid, memory.held?)))
    }

    /// How many losses each guard holds; a guard that has held some stays in the list.
    pub fn held_by_guard(&self) -> &BTreeMap<&'static str, usize> {
        &self.held
    }

    /// How many Jobs the breaker counts as lost, and of how many.
    pub fn breaker_counts(&self) -> (usize, usize) {
        self.breaker.counts()
    }

    /// How many Jobs have which verdict; a verdict that some Job had stays in the list.
    pub fn jobs_by_verdict(&self) -> &BTreeMap<&'static str, usize> {
        self.verdicts.jobs_by_verdict()
    }

    /// How often each row has decided, over the life of the process.
    pub fn decisions_by_row(&self) -> &BTreeMap<Row, u64> {
        self.verdicts.decisions_by_row()
    }

    /// What is remembered of a Job that is no longer known. The work queue keeps its own account.
    fn forget(&mut self, job: &JobUid) {
        self.verdicts.forget(job);
        self.set_held(job, None);
        self.memory.remove(job);
    }

    /// Records which guard holds a loss of a Job, and says whether that has changed.
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

    /// A reaper that only observes fails no Job, whatever the policy says.
    fn restrict(&self, policy: &mut Policy) {
        if self.mode == Mode::ObserveOnly {
            (policy.on_lost, policy.not_starting) = (OnLost::Report, NotStarting::Report);
        }
    }
}

/// Other guards say when they release; the breaker does when enough of many Jobs have been evaluated again.
fn held_requeue(hold: Hold) -> Duration {
    match hold {
        Hold::Breaker { lost, .. } => {
            HELD_REQUEUE.max(HELD_REQUEUE_PER_LOST_JOB.saturating_mul(lost.try_into().unwrap_or(u32::MAX)))
        }
        Hold::WarmUp { .. } | Hold::SelfBeat | Hold::WatchDown => HELD_REQUEUE,
    }
}
