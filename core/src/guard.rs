//! Guards: what holds back the writes of a lost verdict although a row of the table has matched.
//!
//! One more guard, the second look, is a live read of Job and pod by `enforce` before any write.

use std::fmt;

use crate::{
    evidence::Evidence,
    health::SignalHealth,
    moment::Moment,
    policy::{NotStarting, Policy},
    verdict::{JobVerdict, Judgement, LostReason},
};

pub use self::breaker::{Breaker, Place, Standing};

mod breaker;

/// Why the writes of a lost verdict are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The leader has not yet listened for lost-after.
    WarmUp {
        /// When it will have.
        until: Moment,
    },
    /// The beats that the reaper sends to itself through the Service do not arrive, so other beats may be missing as well.
    SelfBeat,
    /// A watch is down: what the reaper knows of Jobs, pods and nodes may be old.
    WatchDown,
    /// Too many Jobs are lost at one time: see [`Breaker`].
    Breaker {
        /// Where.
        scope: Scope,
        /// How many are lost there, or about to be.
        lost: usize,
        /// Of how many.
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
    /// The word on metrics, Events and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WarmUp { .. } => "warm-up",
            Self::SelfBeat => "self-beat",
            Self::WatchDown => "watch-down",
            Self::Breaker { .. } => "breaker",
        }
    }

    /// Whether it holds a loss for this reason. That a node is deleted or out of service is the word of somebody who knows,
    /// however many Jobs it is about; but it has to be heard.
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
                write!(f, " ({lost} of {of} Jobs {place} are silent or lost at one time)")
            }
            Self::WarmUp { .. } | Self::SelfBeat | Self::WatchDown => Ok(()),
        }
    }
}

/// What holds back the writes of lost verdicts for this Job now, by what the reaper hears. What holds them by how many
/// there are, a [`Breaker`] says.
pub fn hold(evidence: &Evidence, policy: &Policy, health: SignalHealth, now: Moment) -> Option<Hold> {
    match health {
        SignalHealth::NotReceiving => return Some(Hold::SelfBeat),
        SignalHealth::WatchDown => return Some(Hold::WatchDown),
        SignalHealth::Receiving => {}
    }
    let until = evidence.listening_since + policy.lost_after;
    (now < until).then_some(Hold::WarmUp { until })
}

/// Whether there is a verdict that this guard holds: something that would be written otherwise.
pub fn is_held(evidence: &Evidence, judgement: &Judgement, policy: &Policy, hold: Hold) -> bool {
    let mut lost =
        evidence.pods.iter().zip(&judgement.pods).filter_map(|(pod, (_, verdict))| Some((pod, verdict.lost()?)));
    match judgement.job {
        JobVerdict::NotStarting if policy.not_starting == NotStarting::Fail => true,
        JobVerdict::Open | JobVerdict::NotStarting | JobVerdict::Ending => lost.any(|(_, reason)| hold.holds(reason)),
        // Of these, only what terminates for ever is written to.
        JobVerdict::Finished | JobVerdict::Deleted | JobVerdict::Paused => {
            lost.any(|(pod, reason)| pod.terminating.is_some() && hold.holds(reason))
        }
        JobVerdict::Ignored | JobVerdict::Overdue => false,
    }
}

/// Whether there is a loss that the breaker counts: something that would be done about a Job if no guard held it.
pub fn is_loss(judgement: &Judgement, policy: &Policy) -> bool {
    let has_lost_pod =
        || judgement.pods.iter().filter_map(|(_, verdict)| verdict.lost()).any(|reason| reason != LostReason::NodeGone);
    match judgement.job {
        JobVerdict::NotStarting => policy.not_starting == NotStarting::Fail || has_lost_pod(),
        JobVerdict::Open => has_lost_pod(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
