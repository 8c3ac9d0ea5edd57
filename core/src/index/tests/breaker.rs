//! Nodes as the breaker counts them.

use super::*;
use crate::guard::WorkerNode;

/// Whether `node-1` carries workers, whether it is gone, when it was last heard of, and since when it is listened to.
fn seen(state: &Index) -> (bool, bool, Moment, Moment) {
    let mut nodes = state.worker_nodes().filter(|node| *node.name == "node-1".into());
    let WorkerNode { carries_workers, is_gone, heard, listening_since, .. } = nodes.next().expect("it is known");
    (carries_workers, is_gone, heard, listening_since)
}

#[test]
fn a_node_is_heard_by_every_renewal_beat_and_report() {
    let mut state = mk_state();
    assert_eq!(seen(&state), (true, false, moment(0), moment(0)));
    state.apply_lease(&mk_lease("node-1", 1), moment(1));
    assert_eq!(seen(&state).2, moment(1));
    state.apply_lease(&mk_lease("node-1", 1), moment(2));
    assert_eq!(seen(&state).2, moment(1), "it has not changed");
    beat(&mut state, Phase::Ending, 3).expect("known");
    assert_eq!(seen(&state).2, moment(3));
    report(&mut state, &Report { blind: Some("hidepid".to_owned()), ..mk_report(&[]) }, 4);
    assert_eq!(seen(&state).2, moment(4));
    let _ = state.beat(&"pod".into(), Some(&"node-2".into()), Phase::Running, moment(5));
    let _ = state.report(&"node-2".into(), &mk_report(&[("pod", 1)]), moment(6));
    assert_eq!(seen(&state).2, moment(4), "nobody speaks for another node");
}

#[test]
fn what_was_heard_in_an_earlier_term_or_while_the_clock_was_wrong_does_not_make_a_node_look_alive() {
    let mut state = mk_state();
    state.set_receiving(true, moment(100));
    beat(&mut state, Phase::Running, 100).expect("known");
    state.set_receiving(true, moment(80));
    assert_eq!(seen(&state).2, moment(80));
    state.start_listening(moment(90));
    assert_eq!(seen(&state).2, moment(0), "only its Lease is known");
}

#[test]
fn a_node_carries_workers_while_a_live_pod_of_a_job_is_bound_to_it() {
    let mut state = mk_state();
    let pod = |phase| PodFacts { node: Some("node-1".into()), phase, ..mk_pod("pod", "job") };
    state.apply_pod(pod(PodPhase::Succeeded), moment(1));
    assert!(!seen(&state).0);
    state.apply_pod(PodFacts { uid: "other".into(), job: None, ..pod(PodPhase::Running) }, moment(2));
    assert!(!seen(&state).0, "a pod that belongs to no Job is no worker");
}

#[test]
fn a_node_is_gone_when_it_is_deleted_or_out_of_service() {
    let mut state = mk_state();
    state.apply_node(&mk_node("node-1", Health::OutOfService), moment(1));
    assert!(seen(&state).1);
    state.apply_node(&mk_node("node-1", Health::NotReady), moment(2));
    assert!(!seen(&state).1);
    state.delete_node(&"node-1".into(), moment(3));
    assert!(seen(&state).1);
}

#[test]
fn nothing_is_missing_while_beats_cannot_arrive_and_everything_is_counted_again_afterwards() {
    let mut state = mk_state();
    state.start_listening(moment(50));
    assert_eq!((seen(&state).3, evidence(&state).listening_since), (moment(50), moment(50)));
    state.set_receiving(true, moment(60));
    assert_eq!(evidence(&state).listening_since, moment(50));
    state.set_receiving(false, moment(70));
    assert_eq!((seen(&state).3, evidence(&state).listening_since), (Moment::NEVER, Moment::NEVER));
    assert_eq!(node(&state).lease_changed, moment(50), "Leases arrive by a watch");
    state.set_receiving(true, moment(80));
    assert_eq!((seen(&state).3, evidence(&state).listening_since), (moment(80), moment(80)));
    assert_eq!(node(&state).lease_changed, moment(50));
}
