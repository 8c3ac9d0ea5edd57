//! What the breaker is told of each Job, and what it says: as the enforcer does it.

use jobwarden_core::{
    guard::{Hold, Standing},
    judge::preview,
    moment::Moment,
    outcome::OutcomeName,
    policy::NotStarting,
    verdict::{JobVerdict, LostReason},
};

use super::looks::Seen;
use crate::world::World;

impl World<'_> {
    /// Before anything is written for any of the Jobs that are due, it is known how all of them stand.
    pub(super) fn survey_all_due(&mut self, reaper: usize) {
        for job in 0..self.jobs.len() {
            let item = &self.reapers[reaper].agenda[job];
            if !item.running && item.due.is_some_and(|due| due <= self.now) {
                self.survey(reaper, job);
            }
        }
    }

    /// Tells the breaker how a Job stands. Returns when time alone may change that.
    pub(super) fn survey(&mut self, reaper: usize, job: usize) -> Option<Moment> {
        // It is noticed here, if it is, that the health have changed.
        let moment = self.hear(reaper, |_, now| now);
        let it = &mut self.reapers[reaper];
        let uid = &self.jobs[job].uid;
        let Some(known) = it.state.known(uid, moment) else {
            it.breaker.note(uid, Standing::default(), moment);
            return None;
        };
        let judgement = preview(&known.evidence, &known.policy, moment);
        let settled = |pod: &_| self.jobs[job].outcomes.contains_key(&OutcomeName::attempt_failed(pod));
        let standing = Standing::of(&known.evidence, &judgement, &known.policy, settled);
        it.breaker.note(uid, standing, moment);
        judgement.recheck_at
    }

    /// Whether the breaker holds the losses of a Job.
    pub(super) fn broken(&mut self, reaper: usize, job: usize, moment: Moment) -> Option<Hold> {
        let it = &mut self.reapers[reaper];
        it.breaker.hold(&self.jobs[job].uid, |zone| it.state.nodes_in(zone), moment)
    }

    /// Nothing holds what was seen in a look: a loss that it shows counts for one lost-after from now on.
    pub(super) fn let_through(&mut self, reaper: usize, job: usize, seen: &Seen) {
        let Seen { snapshot, judgement, moment, .. } = seen;
        let fails = judgement.job == JobVerdict::NotStarting && snapshot.policy.not_starting == NotStarting::Fail;
        let counts = |reason: LostReason| reason != LostReason::NodeGone;
        let loses = matches!(judgement.job, JobVerdict::Open | JobVerdict::NotStarting)
            && judgement.pods.iter().filter_map(|(_, verdict)| verdict.lost()).any(counts);
        if fails || loses {
            let until = *moment + snapshot.policy.lost_after;
            self.reapers[reaper].breaker.let_through(&self.jobs[job].uid, *moment, until);
        }
    }
}
