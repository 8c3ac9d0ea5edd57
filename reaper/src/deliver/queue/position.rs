//! The place of an outcome among others.

use jiff::Timestamp;
use jobwarden_core::outcome::OutcomeName;

/// Sorts outcomes: the oldest first, those of the same time by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) created_at: Timestamp,
    pub(super) name: OutcomeName,
}
