//! What the laws know of evaluations.

use std::time::Duration;

use jobwarden_common::identity::PodUid;
use jobwarden_core::{
    moment::Moment,
    verdict::{JobVerdict, Judgement, PodVerdict},
};

/// Within what time a change leads to an evaluation: each of a few rounds of 16 plans takes up to a second.
const EVALUATED_WITHIN: Duration = Duration::from_secs(3);

/// What the laws know of the evaluations of one Job by one reaper in one term. Kept without asking the reconciler.
#[derive(Clone, Debug, Default)]
pub(crate) struct EvaluationRecord {
    /// The verdicts of the last evaluation.
    pub(crate) last: Option<Verdicts>,
    /// Since when the evidence differs from what was last evaluated.
    pub(crate) changed_since: Option<Duration>,
    /// A step failed, so that the Job is evaluated again after a backoff.
    pub(crate) retrying: bool,
}

/// The verdicts on a Job and its pods.
#[derive(Clone, Debug)]
pub(crate) struct Verdicts {
    pub(crate) job: JobVerdict,
    pub(crate) pods: Vec<(PodUid, PodVerdict)>,
    pub(crate) recheck_at: Option<Moment>,
}

impl Verdicts {
    /// Without the moment of the judgement.
    pub(crate) fn of(judgement: &Judgement) -> Self {
        let Judgement { job, pods, recheck_at, .. } = judgement;
        let pods = pods.iter().map(|pod| (pod.uid.clone(), pod.verdict)).collect();
        Self { job: *job, pods, recheck_at: *recheck_at }
    }
}

impl EvaluationRecord {
    /// The evidence has changed.
    pub(crate) fn changed(&mut self, now: Duration) {
        self.changed_since.get_or_insert(now);
    }

    /// The plan has been executed. What changed meanwhile is evaluated from now on.
    pub(crate) fn executed(&mut self, failed: bool, now: Duration) {
        self.retrying = failed;
        self.changed_since = self.changed_since.map(|_| now);
    }

    /// The reaper does not know the Job any more.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// An evaluation is due or under way.
    pub(crate) fn awaits_evaluation(&self, now: Duration) -> bool {
        self.retrying || self.changed_since.is_some_and(|since| now.saturating_sub(since) < EVALUATED_WITHIN)
    }
}
