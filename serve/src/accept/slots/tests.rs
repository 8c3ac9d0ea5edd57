use std::net::{IpAddr, Ipv4Addr};

use tokio::time::Instant;

use super::*;
use crate::accept::stage::Stage;

fn peer(last: u8) -> Source {
    Source::Peer(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)))
}

const LIMITS: fn() -> Limits =
    || Limits { max_connections: 8, source_connections: 4, source_newcomers: 2, ..Limits::default() };

/// Takes a slot for an idle connection.
fn connect(slots: &Slots, source: Source) -> (Admitted, Activity) {
    let activity = Activity::new(Stage::default());
    (slots.admit(source, activity.clone()), activity)
}

#[tokio::test(start_paused = true)]
async fn a_source_above_its_share_closes_its_own_oldest_connection() {
    let slots = Slots::new(LIMITS());
    let (other, bystander) = connect(&slots, peer(2));
    let mut held = Vec::new();
    for _ in 0..4 {
        tokio::time::advance(Duration::from_secs(1)).await;
        held.push(connect(&slots, peer(1)));
    }
    assert!(held.iter().all(|(admitted, _)| !admitted.evicted));
    let (fifth, _) = connect(&slots, peer(1));
    assert!(fifth.evicted && fifth.slot.is_some());
    timeout(Duration::from_secs(1), held[0].1.evicted()).await.expect("the oldest of the source");
    assert!(timeout(Duration::from_secs(1), bystander.evicted()).await.is_err());
    drop((held, fifth, other));
    assert!(slots.table().sources.is_empty(), "nothing is kept of sources that are gone");
    assert_eq!(slots.table().open, 0);
}

#[tokio::test(start_paused = true)]
async fn the_newcomer_gets_in_when_slots_run_out_and_own_connections_even_above() {
    let slots = Slots::new(LIMITS());
    let _hoarders: Vec<_> = (0..8).map(|n| connect(&slots, peer(1 + n % 3))).collect();
    let (newcomer, _) = connect(&slots, peer(9));
    assert!(newcomer.evicted && newcomer.slot.is_some());
    assert_eq!(slots.table().open, 8);
    let own: Vec<_> = (0..3).map(|_| connect(&slots, Source::Own)).collect();
    assert!(own.iter().all(|(admitted, _)| admitted.slot.is_some()));
}

#[tokio::test(start_paused = true)]
async fn newcomers_of_one_source_wait_for_each_other_and_failures_count_for_a_while() {
    let limits = LIMITS();
    let slots = Slots::new(limits);
    let wait = Duration::from_secs(2);
    let mut held = Vec::new();
    for _ in 0..2 {
        let (admitted, activity) = connect(&slots, peer(1));
        let slot = admitted.slot.expect("there is room");
        activity.set_newcomer(slot.newcomer(wait).await.expect("within the limit"));
        held.push((slot, activity));
    }
    let slot = connect(&slots, peer(1)).0.slot.expect("there is room");
    assert!(slot.newcomer(wait).await.is_err(), "the third waits in vain");
    let other = connect(&slots, peer(2)).0.slot.expect("there is room");
    assert!(other.newcomer(Duration::ZERO).await.is_ok(), "another source does not wait");

    // One of them fails: its place stays taken.
    held.pop();
    let start = Instant::now();
    assert!(slot.newcomer(Duration::from_mins(1)).await.is_ok());
    assert_eq!(start.elapsed(), limits.penalty);
    // One of them proves itself: its place is free at once.
    drop(held[0].1.take_newcomer());
    assert!(slot.newcomer(Duration::ZERO).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn own_connections_are_no_newcomers() {
    let slots = Slots::new(LIMITS());
    for _ in 0..6 {
        let (admitted, activity) = connect(&slots, Source::Own);
        let slot = admitted.slot.expect("there is room");
        activity.set_newcomer(slot.newcomer(Duration::ZERO).await.expect("without a limit"));
        std::mem::forget(slot);
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_spares_what_was_used_since_and_is_made_anew() {
    let slots = Slots::new(Limits { max_connections: 100, source_connections: 100, ..LIMITS() });
    let held: Vec<_> = (0..100).map(|n| connect(&slots, peer(n))).collect();
    let mut newcomers = Vec::new();
    for _ in 0..50 {
        tokio::time::advance(Duration::from_millis(100)).await;
        newcomers.push(connect(&slots, peer(200)));
    }
    assert!(newcomers.iter().all(|(admitted, _)| admitted.evicted && admitted.slot.is_some()));
    assert_eq!(slots.table().open, 100);
    drop((held, newcomers));
    assert!(slots.table().sources.is_empty());
}

#[tokio::test(start_paused = true)]
async fn while_every_connection_is_in_use_newcomers_are_refused_without_a_search() {
    let slots = Slots::new(LIMITS());
    let held: Vec<_> = (0..8).map(|n| connect(&slots, peer(n))).collect();
    for (_, activity) in &held {
        activity.set_busy(true);
    }
    assert!(connect(&slots, peer(9)).0.slot.is_none());
    assert!(slots.table().planned_none && connect(&slots, peer(9)).0.slot.is_none());
    assert!(connect(&slots, Source::Own).0.slot.is_some(), "some slots are our own");
    held[3].1.set_busy(false);
    tokio::time::advance(PLANNED_FOR).await;
    assert!(connect(&slots, peer(9)).0.evicted);
}
