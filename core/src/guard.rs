//! Guards: what holds back the writes for a lost pod although a row of the table has matched.
//!
//! One more guard is [`crate::second_look`], a live read of Job and pod before every write.

use std::fmt;

use crate::{
    evidence::Evidence,
    health::SignalHealth,
    moment::Moment,
    policy::{NotStarting, Policy},
    verdict::{JobVerdict, Judgement, LostReason},
};

pub use self::breaker::{Breaker, JobStatus, Location};

mod breaker;

/// Why the writes for lost pods are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The leader has not yet received signals for lost-after.
    WarmUp {
        /// When it will have.
        until: Moment,
    },
    /// The beats that the reaper sends to itself through the Service do not arrive, so other beats may be missing too.
    SelfBeat,
    /// A watch is down: the Jobs, pods and nodes in the index may be out of date.
    WatchDown,
    /// Too many Jobs are lost at the same time: see [`Breaker`].
    Breaker {
        /// Where.
        scope: Scope,
        /// How many Jobs are lost there, or about to be.
        lost: usize,
        /// How many open Jobs there are.
        of: usize,
    },
}

/// Where a [`Breaker`] has tripped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the whole cluster.
    Cluster,
    /// In the zone of a lost pod.
    Zone,
}

impl Hold {
    /// The name in metrics, Events and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WarmUp { .. } => "warm-up",
            Self::SelfBeat => "self-beat",
            Self::WatchDown => "watch-down",
            Self::Breaker { .. } => "breaker",
        }
    }

    /// Whether the guard holds a loss for this reason. The breaker does not hold a loss with a node that is deleted or out of
    /// service: a controller or an administrator has confirmed it, however many Jobs it concerns. The other guards hold it because
    /// that confirmation may be out of date.
    pub fn holds(self, reason: LostReason) -> bool {
        match self {
            Self::WarmUp { .. } | Self::SelfBeat | Self::WatchDown => true,
            Self::Breaker { .. } => reason != LostReason::NodeGone,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Breaker { scope, lost, of } => {
                let place = match scope {
                    Scope::Cluster => "in the cluster",
                    Scope::Zone => "in its zone",
                };
                write!(f, " ({lost} of {of} Jobs {place} are silent or lost at the same time)")
            }
            Self::WarmUp { .. } | Self::SelfBeat | Self::WatchDown => Ok(()),
        }
    }
}

/// The guard that holds the writes for lost pods of this Job at `now` because signals may be missing. The [`Breaker`] holds
/// them by their number.
pub fn hold(evidence: &Evidence, policy: &Policy, health: SignalHealth, now: Moment) -> Option<Hold> {
    match health {
        SignalHealth::NotReceiving => return Some(Hold::SelfBeat),
        SignalHealth::WatchDown => return Some(Hold::WatchDown),
        SignalHealth::Receiving => {}
    }
    let until = evidence.listening_since + policy.lost_after;
    (now < until).then_some(Hold::WarmUp { until })
}

/// Whether this guard holds a verdict of the judgement: whether something would be written without it.
pub fn is_held(evidence: &Evidence, judgement: &Judgement, policy: &Policy, hold: Hold) -> bool {
    let mut lost =
        judgement.judged_pods(evidence, policy).filter_map(|judged| Some((judged.pod, judged.verdict.lost()?)));
    match judgement.job {
        JobVerdict::NotStarting if policy.not_starting == NotStarting::Fail => true,
        JobVerdict::Open | JobVerdict::NotStarting | JobVerdict::Ending => lost.any(|(_, reason)| hold.holds(reason)),
        // In these states, only lost pods that are terminating are written to.
        JobVerdict::Finished | JobVerdict::Deleted | JobVerdict::Paused => {
            lost.any(|(pod, reason)| pod.terminating.is_some() && hold.holds(reason))
        }
        JobVerdict::Ignored | JobVerdict::Overdue | JobVerdict::ContainerFailed => false,
    }
}

/// Whether the judgement contains a loss that the breaker counts: one that would be acted on if no guard held it.
pub fn is_loss(judgement: &Judgement, policy: &Policy) -> bool {
    let has_lost_pod = || judgement.losses().any(|reason| reason != LostReason::NodeGone);
    match judgement.job {
        JobVerdict::NotStarting => policy.not_starting == NotStarting::Fail || has_lost_pod(),
        JobVerdict::Open => has_lost_pod(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
