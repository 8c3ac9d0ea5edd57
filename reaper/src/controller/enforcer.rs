//! One look at a Job: its snapshot, the judgement, the plan and its execution.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jobwarden_common::identity::{JobUid, PodUid};
use tokio::time::timeout;

use super::{agenda::Done, tally::VerdictCache};
use crate::{
    enforce::{Executor, NoticeKey, Recorded, Report, Step, requeue_at, plan},
    guard::{self, Breaker, Hold},
    judge::judge,
    metrics::{GuardLabels, Metrics},
    moment::Moment,
    observe::{JobSnapshot, Observer},
    outcome::Outbox,
    policy::{NotStarting, OnLost},
    verdict::{JobVerdict, Judgement},
};

mod shown;
mod survey;

/// How soon a Job is looked at again whose lost verdict is held by a guard that does not say for how long.
const HELD_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How long the steps of one plan may take. What is left of them is planned anew.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether verdicts are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are.
    Enforce,
    /// No Job and no pod is written to; outcomes are recorded and delivered, a loss as `suspect`.
    ObserveOnly,
}

/// Looks at Jobs, one at a time each.
pub struct Enforcer {
    observer: Observer,
    outbox: Outbox,
    executor: Executor,
    mode: Mode,
    metrics: Metrics,
    memory: Mutex<HashMap<JobUid, Memory>>,
    tally: Mutex<VerdictCache>,
    breaker: Mutex<Breaker>,
}

/// What is known and concluded of one Job at one moment.
#[derive(Clone, Debug)]
pub struct Look {
    /// What is known.
    pub snapshot: JobSnapshot,
    /// What is concluded.
    pub judgement: Judgement,
    /// What would hold a lost verdict, be there one or not.
    pub hold: Option<Hold>,
    /// When.
    pub now: Moment,
}

impl Look {
    /// What holds a lost verdict, if there is one and something does.
    pub fn held(&self) -> Option<Hold> {
        let JobSnapshot { evidence, policy, .. } = &self.snapshot;
        self.hold.filter(|hold| guard::is_held(evidence, &self.judgement, policy, *hold))
    }
}

/// What was done about a Job that no object shows.
#[derive(Debug, Default)]
struct Memory {
    told: BTreeSet<NoticeKey>,
    abandoned: BTreeSet<PodUid>,
    held: Option<&'static str>,
}

impl Enforcer {
    /// Judges what `observer` knows and enforces it through `executor`.
    pub fn new(observer: Observer, outbox: Outbox, executor: Executor, mode: Mode, metrics: Metrics) -> Self {
        let tally = Mutex::new(VerdictCache::new(metrics.clone()));
        Self { observer, outbox, executor, mode, metrics, memory: Mutex::default(), tally, breaker: Mutex::default() }
    }

    /// Looks at a Job and does nothing about it; nothing if it is not known.
    pub fn look(&self, job: &JobUid) -> Option<Look> {
        let mut snapshot = self.observer.snapshot(job)?;
        if self.mode == Mode::ObserveOnly {
            (snapshot.policy.on_lost, snapshot.policy.not_starting) = (OnLost::Report, NotStarting::Report);
        }
        let now = self.observer.now();
        let judgement = judge(&snapshot.evidence, &snapshot.policy, now);
        let hold = guard::hold(&snapshot.evidence, &snapshot.policy, self.observer.health(), now);
        let hold = hold.or_else(|| self.broken(job, now));
        Some(Look { snapshot, judgement, hold, now })
    }

    pub(crate) async fn enforce(&self, job: &JobUid) -> Done {
        let in_sight_at = self.survey(job);
        let Some(look) = self.look(job) else {
            self.forget(job);
            return Done::Over;
        };
        let held = look.held();
        if look.hold.is_none() {
            self.let_through(&look);
        }
        let Look { snapshot, judgement, hold, now } = look;
        self.show_held(&snapshot, held);
        self.tally().see(job, &judgement, now);

        let mut steps = plan(&snapshot, &judgement, hold, &self.recorded(job), now);
        if judgement.job == JobVerdict::Finished && self.observer.is_gone(job) {
            steps.push(Step::Forget);
        }
        if self.mode == Mode::ObserveOnly {
            steps.retain(|step| !step.writes_workload());
        }
        let Ok(report) = timeout(PATIENCE, self.executor.run(&snapshot.evidence.job.identity, steps)).await else {
            let identity = &snapshot.evidence.job.identity;
            tracing::warn!(job = identity.name, namespace = identity.namespace, "the API server is slow; trying again");
            return Done::Failed;
        };
        self.take_in(job, report, || {
            let moment = requeue_at(&snapshot, &judgement, hold, now).map(|at| at.since(now));
            let preview = in_sight_at.map(|at| at.since(now));
            moment.into_iter().chain(preview).chain(held.map(held_again_after)).min()
        })
    }

    fn take_in(&self, job: &JobUid, report: Report, again: impl FnOnce() -> Option<Duration>) -> Done {
        let Report { told, calmed, abandoned, forget, failure } = report;
        for pod in &abandoned {
            self.observer.give_up(pod);
        }
        if forget {
            self.observer.forget(job);
            self.forget(job);
            return Done::Over;
        }
        if !told.is_empty() || !calmed.is_empty() || !abandoned.is_empty() {
            let mut memory = self.memory();
            let memory = memory.entry(job.clone()).or_default();
            memory.told.retain(|key| !calmed.contains(key));
            memory.told.extend(told);
            memory.abandoned.extend(abandoned);
        }
        if failure.is_some() { Done::Failed } else { Done::Well(again()) }
    }

    fn recorded(&self, job: &JobUid) -> Recorded {
        let outcomes = self.outbox.of_job(job);
        let memory = self.memory();
        let (told, abandoned) =
            memory.get(job).map(|memory| (memory.told.clone(), memory.abandoned.clone())).unwrap_or_default();
        Recorded { outcomes, told, abandoned }
    }

    fn show_held(&self, snapshot: &JobSnapshot, held: Option<Hold>) {
        let identity = &snapshot.evidence.job.identity;
        let word = held.map(Hold::as_str);
        let mut memory = self.memory();
        let before = memory.get(&identity.uid).and_then(|memory| memory.held);
        if before == word {
            return;
        }
        memory.entry(identity.uid.clone()).or_default().held = word;
        self.count_held(before, word);
        let (job, namespace) = (&identity.name, &identity.namespace);
        if let Some(guard) = word {
            tracing::warn!(job, namespace, guard, "a lost verdict is held");
        } else {
            tracing::info!(job, namespace, "no lost verdict is held any more");
        }
    }

    fn count_held(&self, before: Option<&'static str>, after: Option<&'static str>) {
        if let Some(guard) = before {
            self.metrics.held.get_or_create(&GuardLabels { guard }).dec();
        }
        if let Some(guard) = after {
            self.metrics.held.get_or_create(&GuardLabels { guard }).inc();
        }
    }

    fn forget(&self, job: &JobUid) {
        self.tally().forget(job);
        if let Some(memory) = self.memory().remove(job) {
            self.count_held(memory.held, None);
        }
    }

    /// Another leads: what was told and abandoned is its to know.
    pub(super) fn forget_everything(&self) {
        self.tally().clear();
        self.clear_breaker();
        for (_, memory) in self.memory().drain() {
            self.count_held(memory.held, None);
        }
    }

    fn tally(&self) -> MutexGuard<'_, VerdictCache> {
        // Figures for people: of a panic elsewhere, they are at worst off by one.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<JobUid, Memory>> {
        // A map of plain values is whole after a panic elsewhere.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Other guards tell when they let go; the breaker does when enough of very many Jobs have been looked at again.
fn held_again_after(hold: Hold) -> Duration {
    match hold {
        Hold::Breaker { lost, .. } => {
            HELD_AGAIN_AFTER.max(Duration::from_millis(2).saturating_mul(lost.try_into().unwrap_or(u32::MAX)))
        }
        Hold::WarmUp { .. } | Hold::SelfBeat | Hold::WatchDown => HELD_AGAIN_AFTER,
    }
}
