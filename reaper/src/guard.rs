//! Guards: what holds back the writes of a lost verdict although a row of the table has matched.
//!
//! A third guard, the second look, is a live read of Job and pod by `enforce` before any write.

use std::fmt;

use crate::{evidence::Evidence, moment::Moment, policy::Policy};

/// Whether the reaper hears what there is to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ears {
    /// Its own beat arrives through the Service, and its watches are up.
    Open,
    /// Its own beat does not arrive.
    Deaf,
    /// A watch of the API server is down.
    Blindfolded,
}

/// Why the writes of a lost verdict are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The leader has not yet listened for lost-after.
    WarmUp {
        /// When it will have.
        until: Moment,
    },
    /// The reaper's own beat does not arrive: it cannot tell silence from deafness.
    Deaf,
    /// A watch is down: what the reaper knows of Jobs, pods and nodes may be old.
    WatchDown,
}

impl Hold {
    /// The word on metrics, Events and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WarmUp { .. } => "warm-up",
            Self::Deaf => "deaf",
            Self::WatchDown => "watch-down",
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What holds back the writes of lost verdicts for this Job now, if anything does.
pub fn hold(evidence: &Evidence, policy: &Policy, ears: Ears, now: Moment) -> Option<Hold> {
    match ears {
        Ears::Deaf => return Some(Hold::Deaf),
        Ears::Blindfolded => return Some(Hold::WatchDown),
        Ears::Open => {}
    }
    let until = evidence.listening_since + policy.lost_after;
    (now < until).then_some(Hold::WarmUp { until })
}
