//! How a hold begins, and how it ends.

use super::*;

/// Runs the seconds until `until`, and returns which nodes are not held at the end of each minute, as far as that has changed.
fn unheld(breaker: &mut Breaker, nodes: &[TestNode], seconds: std::ops::Range<u64>) -> Vec<(u64, BTreeSet<usize>)> {
    let mut changes: Vec<(u64, BTreeSet<usize>)> = Vec::new();
    for now in seconds {
        survey(breaker, nodes, now);
        let silent = (0..nodes.len()).filter(|&node| nodes[node].silent_since.is_some());
        let unheld: BTreeSet<_> = silent.filter(|&node| !holds(breaker, node, now)).collect();
        if changes.last().is_none_or(|(_, last)| *last != unheld) {
            changes.push((now, unheld));
        }
    }
    changes
}

fn silence(nodes: &mut [TestNode], since: u64) {
    for node in nodes {
        node.silent_since = Some(since);
    }
}

#[test]
fn what_stays_silent_is_released_after_hold_for_one_node_a_minute() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(5, Some("a")));
    silence(&mut nodes[..4], 100);
    let changes = unheld(&mut breaker, &nodes, 112..2000);
    let expected = [
        (112, vec![]),
        (112 + 900, vec![0]),
        (112 + 960, vec![0, 1]),
        (112 + 1020, vec![0, 1, 2]),
        (112 + 1080, vec![0, 1, 2, 3]),
    ];
    assert_eq!(changes, expected.map(|(at, nodes)| (at, nodes.into_iter().collect())));
    assert!(!breaker.is_tripped(), "nothing is left to hold");
}

#[test]
fn while_no_node_reports_nothing_is_released() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(4, None));
    silence(&mut nodes, 100);
    assert_eq!(unheld(&mut breaker, &nodes, 112..10_000), [(112, BTreeSet::new())]);
    assert_eq!(breaker.report().domains[0].next_release, None);
    // An operator knows more.
    assert_eq!(breaker.release(at(10_000)), 4);
    assert!(!breaker.is_tripped());
}

#[test]
fn a_node_that_joins_late_is_held_for_as_long_as_the_others() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(6, None));
    silence(&mut nodes[..3], 100);
    unheld(&mut breaker, &nodes, 112..1000);
    silence(&mut nodes[3..4], 988);
    let changes = unheld(&mut breaker, &nodes, 1000..3000);
    assert_eq!(changes.last().map(|(at, _)| *at), Some(1000 + 900), "it does not inherit the age of the hold");
}

#[test]
fn a_released_node_that_was_acted_upon_has_not_returned() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(5, Some("a")));
    silence(&mut nodes[..3], 100);
    unheld(&mut breaker, &nodes, 112..112 + 901);
    // Its pods are removed.
    nodes[0].workers = false;
    for now in 1020..1060 {
        survey(&mut breaker, &nodes, now);
        assert!(holds(&mut breaker, 1, now) && holds(&mut breaker, 2, now));
    }
    assert_eq!((breaker.report().domains[0].affected, breaker.report().domains[0].of), (3, 5));
}

#[test]
fn when_nodes_return_the_others_are_held_until_no_more_do() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(6, None));
    silence(&mut nodes[..5], 100);
    survey(&mut breaker, &nodes, 200);
    for (returns, now) in [(0, 210), (1, 215), (2, 235)] {
        nodes[returns].silent_since = None;
        survey(&mut breaker, &nodes, now);
        assert!(holds(&mut breaker, 4, now));
        assert!(holds(&mut breaker, returns, now), "its other pods are about to return as well");
    }
    survey(&mut breaker, &nodes, 239);
    assert!(holds(&mut breaker, 0, 239));
    assert!(survey(&mut breaker, &nodes, 240), "what is not held any more has to be evaluated");
    assert!(!holds(&mut breaker, 0, 240));
    survey(&mut breaker, &nodes, 264);
    assert!(holds(&mut breaker, 4, 264) && breaker.report().domains[0].returning);
    assert!(survey(&mut breaker, &nodes, 265), "the Jobs that it holds have to be evaluated again");
    assert!(!holds(&mut breaker, 4, 265) && !holds(&mut breaker, 3, 265) && !breaker.is_tripped());
}

#[test]
fn when_all_nodes_return_at_once_their_pods_are_held_until_they_have_returned_too() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(4, None));
    silence(&mut nodes, 100);
    survey(&mut breaker, &nodes, 200);
    for node in &mut nodes {
        node.silent_since = None;
    }
    for now in 201..231 {
        survey(&mut breaker, &nodes, now);
        assert!(holds(&mut breaker, 0, now));
    }
    survey(&mut breaker, &nodes, 231);
    assert!(!holds(&mut breaker, 0, 231) && !breaker.is_tripped());
}

#[test]
fn nodes_that_keep_returning_do_not_prolong_a_hold_for_ever() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(20, None));
    silence(&mut nodes[..7], 100);
    survey(&mut breaker, &nodes, 200);
    nodes[..2].iter_mut().for_each(|node| node.silent_since = None);
    for now in 201..=321 {
        // One of the five that are left returns again and again.
        nodes[2].silent_since = (now % 20 > 5).then(|| now - 12);
        survey(&mut breaker, &nodes, now);
        assert_eq!(breaker.is_tripped(), now < 321);
    }
}

#[test]
fn a_node_that_falls_silent_while_others_return_trips_again() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(6, None));
    silence(&mut nodes[..3], 100);
    survey(&mut breaker, &nodes, 200);
    nodes[0].silent_since = None;
    survey(&mut breaker, &nodes, 210);
    silence(&mut nodes[3..4], 210);
    survey(&mut breaker, &nodes, 222);
    assert!(!breaker.report().domains[0].returning);
    survey(&mut breaker, &nodes, 300);
    assert!(holds(&mut breaker, 1, 300) && holds(&mut breaker, 3, 300));
}

#[test]
fn what_is_confirmed_to_be_gone_is_not_held_and_lets_the_others_go() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(6, None));
    silence(&mut nodes[..3], 100);
    survey(&mut breaker, &nodes, 200);
    nodes[0].gone = true;
    survey(&mut breaker, &nodes, 201);
    assert!(!holds(&mut breaker, 0, 201) && holds(&mut breaker, 1, 201));
    survey(&mut breaker, &nodes, 231);
    assert!(!breaker.is_tripped());
}

#[test]
fn nodes_that_died_at_different_times_did_not_fall_silent_together() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(6, None));
    // Their losses are only reported, so that their pods stay.
    for (node, since) in [(0, 100), (1, 110), (2, 100 + 300)] {
        nodes[node].silent_since = Some(since);
        survey(&mut breaker, &nodes, since + 12);
    }
    assert!(!breaker.is_tripped());
    silence(&mut nodes[3..5], 420);
    survey(&mut breaker, &nodes, 432);
    assert!(breaker.is_tripped(), "three of them did");
}

#[test]
fn what_an_operator_releases_is_held_again_only_after_it_has_returned() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(4, None));
    silence(&mut nodes[..3], 100);
    survey(&mut breaker, &nodes, 200);
    assert_eq!(breaker.release(at(201)), 3);
    survey(&mut breaker, &nodes, 202);
    assert!(!breaker.is_tripped() && !holds(&mut breaker, 0, 202));
    assert_eq!(breaker.release(at(203)), 0);
    nodes[..3].iter_mut().for_each(|node| node.silent_since = None);
    survey(&mut breaker, &nodes, 300);
    silence(&mut nodes[..3], 300);
    survey(&mut breaker, &nodes, 312);
    assert!(holds(&mut breaker, 0, 312));
}

/// A zone is cut off: each of its nodes had last renewed its Lease at another time within ten seconds. Nothing can be lost before a
/// Lease is 25 s old, whatever a tenant's lost-after is, and nothing of it is let through.
#[test]
fn all_nodes_of_a_partition_count_before_the_first_of_them_can_be_lost() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(9, None));
    for (number, node) in nodes[..4].iter_mut().enumerate() {
        node.silent_since = Some(100 + 3 * number as u64);
    }
    for now in 110..200 {
        survey(&mut breaker, &nodes, now);
        let lost = (0..4).filter(|&node| nodes[node].silent_since.is_some_and(|since| now >= since + 25));
        assert!(lost.into_iter().all(|node| holds(&mut breaker, node, now)), "at {now}");
    }
}

#[test]
fn the_next_release_is_a_minute_after_the_last() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(5, None));
    silence(&mut nodes[..4], 100);
    unheld(&mut breaker, &nodes, 112..112 + 900);
    assert_eq!(breaker.report().domains[0].next_release, Some(at(112 + 900)));
    assert!(survey(&mut breaker, &nodes, 112 + 905));
    assert_eq!(breaker.report().domains[0].next_release, Some(at(112 + 965)));
}

/// What waits for the release of a zone is evaluated when that alone is released.
#[test]
fn a_zone_that_is_released_alone_is_a_release() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(9, Some("b")));
    nodes[..3].iter_mut().for_each(|node| node.zone = Some("a".into()));
    silence(&mut nodes[..2], 100);
    survey(&mut breaker, &nodes, 112);
    nodes[0].silent_since = None;
    assert!(!survey(&mut breaker, &nodes, 200) && holds(&mut breaker, 1, 200));
    assert!(survey(&mut breaker, &nodes, 230) && !holds(&mut breaker, 1, 230));
}
