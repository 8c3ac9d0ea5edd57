//! What the guards hold of one Job.

use std::{collections::BTreeMap, time::Duration};

use jobwarden_common::identity::PodUid;

use super::{Hold, rests_on_silence};
use crate::{
    evidence::Evidence,
    health::SignalHealth,
    moment::Moment,
    policy::{NotStarting, Policy},
    verdict::{JobVerdict, Judgement, LostReason},
};

/// The shortest warm-up, however short the lost-after of a Job is: the [`Breaker`](super::Breaker) has counted the nodes by then.
const WARM_UP_LEAST: Duration = Duration::from_secs(15);

/// What the guards hold of one Job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Holds every loss that rests on missing signals.
    silence: Option<Hold>,
    /// Holds everything.
    objects: Option<Hold>,
    /// Holds the loss of single pods.
    pods: BTreeMap<PodUid, Hold>,
}

impl Holds {
    pub(super) fn new(silence: Option<Hold>, objects: Option<Hold>) -> Self {
        Self { silence, objects, pods: BTreeMap::new() }
    }

    /// The breaker holds the loss of this pod.
    pub(crate) fn add(&mut self, pod: PodUid, hold: Hold) {
        self.pods.insert(pod, hold);
    }

    /// The guard that holds the loss of this pod for this reason.
    pub fn of(&self, pod: &PodUid, reason: LostReason) -> Option<Hold> {
        let silence = self.silence.filter(|_| rests_on_silence(reason));
        self.objects.or(silence).or_else(|| self.pods.get(pod).copied())
    }

    /// The guard that holds what rests on objects.
    pub fn of_objects(&self) -> Option<Hold> {
        self.objects
    }

    /// The guard that holds what rests on missing signals, whichever pod it is about.
    pub fn of_silence(&self) -> Option<Hold> {
        self.objects.or(self.silence)
    }

    /// When the warm-up is over, if it holds.
    pub(crate) fn warm_up_until(&self) -> Option<Moment> {
        match self.silence {
            Some(Hold::WarmUp { until }) => Some(until),
            _ => None,
        }
    }
}

impl From<Hold> for Holds {
    /// What this guard alone holds; the breaker holds single pods, and so nothing here.
    fn from(hold: Hold) -> Self {
        match hold {
            Hold::WatchDown => Self::new(None, Some(hold)),
            Hold::WarmUp { .. } | Hold::SelfBeat => Self::new(Some(hold), None),
            Hold::Breaker { .. } => Self::default(),
        }
    }
}

/// The guards that hold losses of this Job at `now` because signals or objects may be missing. What the [`Breaker`](super::Breaker) holds comes on top.
pub fn holds(evidence: &Evidence, policy: &Policy, health: SignalHealth, now: Moment) -> Holds {
    let until = evidence.listening_since + policy.lost_after.max(WARM_UP_LEAST);
    let (silence, objects) = match health {
        SignalHealth::NotReceiving => (Some(Hold::SelfBeat), None),
        SignalHealth::WatchDown => (None, Some(Hold::WatchDown)),
        SignalHealth::Receiving => ((now < until).then_some(Hold::WarmUp { until }), None),
    };
    Holds::new(silence, objects)
}

/// The guard that holds a verdict of the judgement: without it, something would be written.
pub fn held(evidence: &Evidence, judgement: &Judgement, policy: &Policy, holds: &Holds) -> Option<Hold> {
    let held = |only_terminating: bool| {
        let lost =
            judgement.judged_pods(evidence, policy).filter_map(|judged| Some((judged.pod, judged.verdict.lost()?)));
        let mut written = lost.filter(|(pod, _)| !only_terminating || pod.terminating.is_some());
        written.find_map(|(pod, reason)| holds.of(&pod.uid, reason))
    };
    match judgement.job {
        JobVerdict::NotStarting if policy.not_starting == NotStarting::Fail => {
            holds.of_objects().or_else(|| held(false))
        }
        JobVerdict::Open | JobVerdict::NotStarting | JobVerdict::Ending => held(false),
        // In these states, only lost pods that are terminating are written to.
        JobVerdict::Finished | JobVerdict::Deleted | JobVerdict::Paused => held(true),
        JobVerdict::NotEnrolled | JobVerdict::Ignored | JobVerdict::Overdue | JobVerdict::ContainerFailed => None,
    }
}
