//! Which connections make room for others.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    hash::Hash,
};

use tokio::time::Instant;

/// Newcomers may hold one of this many slots before the oldest of them makes room, rather than a connection that has proven itself.
const NEWCOMER_SHARE: usize = 4;

/// What matters of a connection that may be closed for another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<K, S = super::Source> {
    pub(super) key: K,
    /// Its source.
    pub(super) group: S,
    /// Its source is [`Source::Own`](super::Source::Own).
    pub(super) own: bool,
    /// It has had a successful response.
    pub(super) proven: bool,
    /// It has a request in flight.
    pub(super) busy: bool,
    /// When its last request ended or, without any, when it was accepted.
    pub(super) since: Instant,
    /// All connections of its source.
    pub(super) connections: usize,
    /// Those of its source that have had no successful response.
    pub(super) newcomers: usize,
}

/// The connections to close, at most `most` of them, the first one first: never one with a request in flight, those of our own last. Newcomers
/// make room for each other if they hold more than their share of all slots: the oldest of the source with most of them. Otherwise the
/// source with most connections makes room: its oldest newcomer if it has one, else its oldest connection.
pub(super) fn victims<K: Copy, S: Copy + Eq + Hash>(
    candidates: impl Iterator<Item = Candidate<K, S>>,
    max_connections: usize,
    most: usize,
) -> Vec<Candidate<K, S>> {
    let (mut idle, mut newcomers) = (Vec::new(), 0);
    for one in candidates {
        newcomers += usize::from(!one.proven);
        if !one.busy {
            idle.push(one);
        }
    }
    let beyond = newcomers.saturating_sub(max_connections / NEWCOMER_SHARE);
    if beyond > 0 && idle.iter().any(|one| !one.proven) {
        idle.retain(|one| !one.proven);
        return in_turn(idle, |one| one.newcomers, most.min(beyond));
    }
    in_turn(idle, |one| one.connections, most)
}

/// The first `most` of `idle`: each time of the source that has most by `count`, of which there is one less then.
fn in_turn<K: Copy, S: Copy + Eq + Hash>(
    mut idle: Vec<Candidate<K, S>>,
    count: impl Fn(&Candidate<K, S>) -> usize,
    most: usize,
) -> Vec<Candidate<K, S>> {
    // Of each source, the next one last.
    idle.sort_unstable_by_key(|one| Reverse((one.proven, one.since)));
    let mut groups: HashMap<S, Vec<Candidate<K, S>>> = HashMap::new();
    for one in idle {
        groups.entry(one.group).or_default().push(one);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    let rank = |one: &Candidate<K, S>, count: usize, group: usize| {
        (Reverse(one.own), count, Reverse(one.proven), Reverse(one.since), group)
    };
    let first = groups.iter().enumerate().filter_map(|(group, of)| of.last().map(|one| rank(one, count(one), group)));
    let mut ranks: BinaryHeap<_> = first.collect();
    let mut chosen = Vec::new();
    while chosen.len() < most
        && let Some((_, count, .., group)) = ranks.pop()
    {
        chosen.extend(groups[group].pop());
        ranks.extend(groups[group].last().map(|next| rank(next, count.saturating_sub(1), group)));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;

    /// A candidate with this name, the only one of its source, idle since this second.
    fn mk(name: &'static str, since: u64) -> Candidate<&'static str, &'static str> {
        let since = Instant::now() + Duration::from_secs(since);
        Candidate { key: name, group: name, own: false, proven: true, busy: false, since, connections: 1, newcomers: 0 }
    }

    #[rstest]
    #[case::the_oldest(&[mk("old", 1), mk("young", 2)], Some("old"))]
    #[case::not_one_in_flight(&[Candidate { busy: true, ..mk("old", 1) }, mk("young", 2)], Some("young"))]
    #[case::none_if_all_are_in_flight(&[Candidate { busy: true, ..mk("a", 1) }], None)]
    #[case::own_ones_last(&[Candidate { own: true, ..mk("own", 1) }, mk("young", 2)], Some("young"))]
    #[case::own_ones_if_nothing_else(&[Candidate { own: true, ..mk("own", 1) }], Some("own"))]
    #[case::of_the_source_with_most(&[mk("old", 1), Candidate { connections: 9, ..mk("of many", 7) }], Some("of many"))]
    #[case::of_it_the_newcomers_first(
        &[
            Candidate { connections: 9, group: "many", ..mk("old", 1) },
            Candidate { connections: 9, group: "many", proven: false, newcomers: 1, ..mk("new", 7) },
        ],
        Some("new")
    )]
    #[case::few_newcomers_are_spared_while_another_source_holds_more(
        &[Candidate { connections: 9, ..mk("hoarder", 7) }, Candidate { proven: false, newcomers: 1, ..mk("new", 1) }],
        Some("hoarder")
    )]
    fn the_connection_that_makes_room(
        #[case] candidates: &[Candidate<&'static str, &'static str>],
        #[case] expected: Option<&'static str>,
    ) {
        assert_eq!(victims(candidates.iter().copied(), 100, 1).first().map(|one| one.key), expected);
    }

    #[test]
    fn newcomers_beyond_their_share_make_room_for_each_other_until_they_hold_no_more_than_that() {
        // A dense node, whose connections are proven, and an attacker with many addresses.
        let node = (0..60).map(|_| Candidate { connections: 60, ..mk("node", 1) });
        let attacker = (0..40).map(|second| Candidate { proven: false, newcomers: 40, ..mk("attacker", 10 + second) });
        let honest = Candidate { proven: false, newcomers: 1, ..mk("honest", 2) };
        let chosen = victims(node.chain(attacker).chain([honest]), 100, 60);
        assert_eq!(chosen.len(), 16, "of 41, 25 are their share");
        assert!(chosen.iter().all(|one| one.key == "attacker"));
        assert!(chosen.is_sorted_by_key(|one| one.since), "the oldest first");
    }

    #[test]
    fn the_sources_with_most_make_room_in_turn() {
        let of = |name: &'static str, count: usize| {
            (0..count as u64).map(move |second| Candidate { connections: count, ..mk(name, second) })
        };
        let chosen: Vec<_> =
            victims(of("a", 5).chain(of("b", 3)).chain(of("c", 1)), 100, 6).iter().map(|one| one.key).collect();
        assert_eq!(chosen[..2], ["a", "a"]);
        let left = |name, had| had - chosen.iter().filter(|one| **one == name).count();
        assert_eq!((left("a", 5), left("b", 3), left("c", 1)), (1, 1, 1), "none is left with more than another");
    }
}
