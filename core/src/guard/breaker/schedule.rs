//! When what is held is released although it does not return.

use std::time::Duration;

use crate::moment::Moment;

/// The shortest time between two releases of one tally: what is released by mistake is one node, and somebody can step in.
pub(super) const RELEASE_EVERY: Duration = Duration::from_mins(1);

/// What is released next and when: of those that are held, the one that has been held for longest.
pub(super) fn next_release<'a, U: Ord>(
    held: impl Iterator<Item = (&'a U, Moment)>,
    last_release: Option<Moment>,
    hold_for: Duration,
) -> Option<(Moment, &'a U)> {
    let (unit, since) = held.min_by(|(one, since), (other, other_since)| (since, one).cmp(&(other_since, other)))?;
    let at = since + hold_for;
    Some((last_release.map_or(at, |last| at.max(last + RELEASE_EVERY)), unit))
}
