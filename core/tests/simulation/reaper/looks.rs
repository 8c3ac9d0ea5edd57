//! Looks at Jobs: snapshot, judgement, guard, plan; by the agenda's rules.

use std::time::Duration;

use jobwarden_core::{
    enforce::{Recorded, Step, plan, requeue_at},
    guard::{Hold, hold},
    index::Known,
    judge::judge,
    moment::Moment,
    snapshot::JobSnapshot,
    verdict::{JobVerdict, Judgement},
};

use crate::{
    laws::looks::Look,
    world::{Event, World},
};

/// From a change to the look at it, and the least from one look to the next.
pub(crate) const LATENCY: Duration = Duration::from_millis(20);
const LEAST: Duration = Duration::from_millis(100);
/// After a failure, doubled with each further one, up to a minute.
pub(super) const BACKOFF: Duration = Duration::from_secs(1);
/// When a verdict that is held is looked at again.
const HELD_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// What is known and concluded of a Job at one moment.
pub(super) struct Seen {
    pub(super) snapshot: JobSnapshot,
    pub(super) judgement: Judgement,
    pub(super) hold: Option<Hold>,
    pub(super) moment: Moment,
}

impl World<'_> {
    /// A reaper looks at a Job.
    pub(crate) fn look(&mut self, reaper: usize, life: u32, job: usize) {
        let it = &self.reapers[reaper];
        if it.life != life || !it.enforcing || it.agenda[job].running || it.agenda[job].due != Some(self.now) {
            return;
        }
        self.survey_all_due(reaper);
        let in_sight_at = self.survey(reaper, job);
        self.reapers[reaper].agenda[job].due = None;
        let Some(seen) = self.see(reaper, job) else {
            self.reapers[reaper].agenda[job] = super::Item::default();
            self.reapers[reaper].concluded[job] = None;
            return;
        };
        if seen.hold.is_none() {
            self.let_through(reaper, job, &seen);
        }
        let Seen { snapshot, judgement, hold, moment } = &seen;
        let item = &self.reapers[reaper].agenda[job];
        let recorded = Recorded {
            outcomes: self.jobs[job].outcomes.clone(),
            told: item.told.clone(),
            abandoned: item.abandoned.clone(),
        };
        let mut steps = plan(snapshot, judgement, *hold, &recorded, *moment);
        if judgement.job == JobVerdict::Finished && self.reapers[reaper].state.is_gone(&self.jobs[job].uid) {
            steps.push(Step::Forget);
        }
        let again = requeue_at(snapshot, judgement, *hold, *moment).into_iter().chain(in_sight_at);
        let held = hold.filter(|hold| is_held(judgement, *hold)).map(|_| HELD_AGAIN_AFTER);
        let again = again.map(|at| at.since(*moment)).chain(held).min();
        self.judge_the_look(&Look { reaper, job, snapshot, judgement, hold: *hold, steps: &steps, moment: *moment });

        let item = &mut self.reapers[reaper].agenda[job];
        (item.running, item.again) = (true, again);
        (item.failed, item.stopped, item.forget) = (false, false, false);
        item.blocked.clear();
        item.steps = steps.into();
        if item.steps.is_empty() {
            self.done(reaper, job);
        } else {
            self.step_soon(reaper, job);
        }
    }

    /// What is known and concluded of a Job now.
    fn see(&mut self, reaper: usize, job: usize) -> Option<Seen> {
        let at = self.instant();
        let it = &mut self.reapers[reaper];
        let (moment, health) = (it.hearing.now(at), it.hearing.health(at));
        let known = it.state.known(&self.jobs[job].uid, moment)?;
        let snapshot = snapshot(known);
        let judgement = judge(&snapshot.evidence, &snapshot.policy, moment);
        let hold =
            hold(&snapshot.evidence, &snapshot.policy, health, moment).or_else(|| self.broken(reaper, job, moment));
        Some(Seen { snapshot, judgement, hold, moment })
    }

    pub(super) fn step_soon(&mut self, reaper: usize, job: usize) {
        let it = &mut self.reapers[reaper];
        let (after, life) = (it.dice.ms(5, 60), it.life);
        self.after(after, Event::Step { reaper, life, job });
    }

    /// All steps of a plan have been taken, or have failed.
    pub(super) fn done(&mut self, reaper: usize, job: usize) {
        let now = self.now;
        let item = &mut self.reapers[reaper].agenda[job];
        item.running = false;
        let touched = std::mem::take(&mut item.touched);
        if item.forget {
            return self.forget(reaper, job);
        }
        let at = if item.failed {
            item.failures += 1;
            let pause = BACKOFF.saturating_mul(1 << (item.failures - 1).min(6)).min(Duration::from_mins(1));
            Some(now + if touched { pause.min(BACKOFF) } else { pause })
        } else {
            item.failures = 0;
            if touched { Some(now + LATENCY) } else { item.again.map(|again| now.saturating_add(again.max(LEAST))) }
        };
        if let Some(at) = at {
            self.look_at(reaper, job, at);
        }
    }

    fn forget(&mut self, reaper: usize, job: usize) {
        let uid = self.jobs[job].uid.clone();
        self.reapers[reaper].agenda[job] = super::Item::default();
        self.reapers[reaper].concluded[job] = None;
        self.hear(reaper, |state, _| state.forget_job(&uid));
    }
}

/// Nobody reads the timeline here.
fn snapshot(known: Known) -> JobSnapshot {
    let Known { evidence, policy, origins, past, usage, .. } = known;
    JobSnapshot { evidence, policy, origins, past, usage, timeline: Vec::new() }
}

/// Whether there is a verdict that this guard holds.
fn is_held(judgement: &Judgement, hold: Hold) -> bool {
    let writes = matches!(judgement.job, JobVerdict::Open | JobVerdict::NotStarting | JobVerdict::Ending);
    writes && judgement.pods.iter().filter_map(|(_, verdict)| verdict.lost()).any(|reason| hold.holds(reason))
}
