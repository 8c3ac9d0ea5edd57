//! What the guards hold of one Job.

use std::collections::BTreeMap;

use jobwarden_common::identity::PodUid;

use super::{Hold, rests_on_silence};
use crate::{moment::Moment, verdict::LostReason};

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
