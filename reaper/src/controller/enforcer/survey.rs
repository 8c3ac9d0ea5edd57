//! What the breaker is told of each Job, and what it says.

use std::sync::{MutexGuard, PoisonError};

use jobwarden_common::identity::JobUid;

use super::{Enforcer, Look, Mode};
use crate::{
    guard::{Breaker, Hold, Standing},
    judge::preview,
    moment::Moment,
    outcome::OutcomeName,
    policy::NotStarting,
    verdict::{JobVerdict, LostReason},
};

impl Enforcer {
    /// Tells the breaker how a Job stands. Returns when time alone may change that.
    pub(in crate::controller) fn survey(&self, job: &JobUid) -> Option<Moment> {
        let now = self.observer.now();
        let Some((evidence, mut policy)) = self.observer.evidence(job) else {
            self.note(job, Standing::default(), now);
            return None;
        };
        if self.mode == Mode::ObserveOnly {
            policy.not_starting = NotStarting::Report;
        }
        let judgement = preview(&evidence, &policy, now);
        let standing = Standing::of(&evidence, &judgement, &policy, |pod| {
            self.outbox.of_job(job).contains_key(&OutcomeName::attempt_failed(pod))
        });
        self.note(job, standing, now);
        judgement.recheck_at
    }

    fn note(&self, job: &JobUid, standing: Standing, now: Moment) {
        let mut breaker = self.breaker();
        breaker.note(job, standing, now);
        let (lost, _) = breaker.counted();
        self.metrics.silent.set(i64::try_from(lost).unwrap_or(i64::MAX));
    }

    /// Whether the breaker holds the losses of a Job.
    pub(super) fn broken(&self, job: &JobUid, now: Moment) -> Option<Hold> {
        self.breaker().hold(job, |zone| self.observer.nodes_in(zone), now)
    }

    /// Nothing holds what was seen in a look: a loss that it shows counts for one lost-after from now on.
    pub(super) fn let_through(&self, look: &Look) {
        let Look { snapshot, judgement, now, .. } = look;
        let fails = judgement.job == JobVerdict::NotStarting && snapshot.policy.not_starting == NotStarting::Fail;
        let lost = |reason: LostReason| reason != LostReason::NodeGone;
        let loses = matches!(judgement.job, JobVerdict::Open | JobVerdict::NotStarting)
            && judgement.pods.iter().filter_map(|(_, verdict)| verdict.lost()).any(lost);
        if fails || loses {
            let until = *now + snapshot.policy.lost_after;
            self.breaker().let_through(&snapshot.evidence.job.identity.uid, *now, until);
        }
    }

    pub(super) fn clear_breaker(&self) {
        self.breaker().clear();
        self.metrics.silent.set(0);
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        // What a panic left behind is put right by the next notes.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
