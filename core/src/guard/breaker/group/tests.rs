//! What trips, holds and releases a group.

use super::*;
use crate::builders::evidence::at;

const LIMIT: Limit = Limit { members: 3, of: 0, percent: 30, more_than: true };

/// Members 1, 2 and 3 of a group of `of`, affected since 0.
fn mk_group(of: usize) -> Group<u32> {
    let mut group = Group { of, ..Group::default() };
    for unit in 1..=3 {
        group.join(&unit, at(0));
    }
    group
}

fn tripped(of: usize) -> Group<u32> {
    let mut group = mk_group(of);
    group.settle(LIMIT, at(1));
    assert!(group.trip().is_some());
    group
}

#[test]
fn members_trip_a_group_within_five_minutes_of_each_other() {
    let mut group = mk_group(4);
    group.settle(LIMIT, at(0) + TOGETHER);
    assert!(group.trip().is_none(), "five minutes later they do not count as afflicted together");
    group.settle(LIMIT, at(299));
    assert!(group.trip().is_some());
}

#[test]
fn a_member_that_vanishes_before_it_is_released_counts_no_more() {
    let mut group = tripped(4);
    group.leave(&1, Leave::Vanished, at(2));
    assert_eq!(group.counts(), (2, 4));
    group.settle(LIMIT, at(2));
    assert!(!group.holds(&1));
    assert!(group.trip().is_some_and(|trip| trip.returning.is_some()), "the others are too few");
}

#[test]
fn a_member_that_vanishes_after_its_release_was_one_of_the_group() {
    let mut group = tripped(4);
    group.release(&1);
    assert!(group.is_released(&1) && !group.is_released(&2));
    group.leave(&1, Leave::Vanished, at(2));
    // Nine others carry workers by now: three of ten are not more than thirty percent.
    group.of = 9;
    assert_eq!(group.counts(), (3, 10));
    group.settle(LIMIT, at(2));
    assert!(group.trip().is_some_and(|trip| trip.returning.is_some()));
}

#[test]
fn what_has_returned_stays_held_for_a_while() {
    let mut group = tripped(4);
    group.leave(&1, Leave::Returned, at(2));
    assert_eq!(group.returned().collect::<Vec<_>>(), [&1]);
    assert!(group.holds(&1));
    group.settle(LIMIT, at(2) + RETURNED_AFTER);
    assert_eq!(group.returned().count(), 0);
}

#[test]
fn a_group_is_empty_if_nothing_is_known_of_it() {
    assert!(Group::<u32>::default().is_empty());
    assert!(!Group::<u32> { of: 1, ..Group::default() }.is_empty());
    let mut group = Group::default();
    group.join(&1, at(0));
    assert!(!group.is_empty());
}
