//! What the breaker counts, and drills: a cluster whose nodes fall silent, second by second.

use std::{collections::BTreeSet, time::Duration};

use rstest::rstest;

use super::*;
use crate::{
    builders::evidence::{at, mk_pod},
    evidence::NodeEvidence,
};

mod drills;
mod jobs;

/// A node of a drill.
#[derive(Clone)]
struct TestNode {
    name: NodeName,
    zone: Option<Arc<str>>,
    workers: bool,
    gone: bool,
    /// When it was last heard of, if it is silent.
    silent_since: Option<u64>,
}

/// Nodes `n0`, `n1`, … that carry workers and are heard of, in this zone.
fn mk_nodes(nodes: usize, zone: Option<&str>) -> Vec<TestNode> {
    let node = |number| TestNode {
        name: name(number),
        zone: zone.map(Into::into),
        workers: true,
        gone: false,
        silent_since: None,
    };
    (0..nodes).map(node).collect()
}

fn name(node: usize) -> NodeName {
    format!("n{node}").into()
}

fn survey(breaker: &mut Breaker, nodes: &[TestNode], now: u64) -> bool {
    survey_listening_since(breaker, nodes, at(0), now)
}

fn survey_listening_since(breaker: &mut Breaker, nodes: &[TestNode], listening_since: Moment, now: u64) -> bool {
    let nodes = nodes.iter().map(|node| WorkerNode {
        name: &node.name,
        zone: node.zone.as_ref(),
        carries_workers: node.workers,
        is_gone: node.gone,
        heard: at(node.silent_since.unwrap_or(now)),
        listening_since,
    });
    breaker.survey(nodes, at(now))
}

/// The hold on a loss for this reason of a pod on this node.
fn hold_for(breaker: &mut Breaker, node: usize, reason: LostReason, now: u64) -> Option<Hold> {
    let mut pod = mk_pod("w");
    pod.node = pod.node.map(|evidence| NodeEvidence { name: name(node), ..evidence });
    breaker.hold(&"job".into(), "ort", &pod, reason, at(now))
}

fn holds(breaker: &mut Breaker, node: usize, now: u64) -> bool {
    hold_for(breaker, node, LostReason::NodeUnreachable, now).is_some()
}

fn silent_in(scope: Scope, affected: usize, of: usize) -> Hold {
    Hold::Breaker { counted: Counted::SilentNodes, scope, affected, of }
}

#[rstest]
#[case::one_of_one(1, 1, false)]
#[case::two_of_two(2, 2, false)]
#[case::two_of_three(3, 2, false)]
#[case::three_of_three(3, 3, true)]
#[case::three_of_nine(9, 3, true)]
#[case::three_of_ten(10, 3, false)]
#[case::thirty_percent(100, 30, false)]
#[case::more_than_thirty_percent(100, 31, true)]
fn the_cluster_trips_on_three_silent_nodes_and_more_than_thirty_percent(
    #[case] of: usize,
    #[case] silent: usize,
    #[case] trips: bool,
) {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(of, None));
    nodes[..silent].iter_mut().for_each(|node| node.silent_since = Some(100));
    survey(&mut breaker, &nodes, 111);
    assert!(!holds(&mut breaker, 0, 111), "a healthy Lease is renewed every ten seconds");
    survey(&mut breaker, &nodes, 112);
    let hold = hold_for(&mut breaker, 0, LostReason::NodeUnreachable, 112);
    assert_eq!(hold, trips.then(|| silent_in(Scope::Cluster, silent, of)));
    assert_eq!(hold_for(&mut breaker, 0, LostReason::OutcomeUnknown, 112), hold);
    assert_eq!(breaker.is_tripped(), trips);
}

#[rstest]
#[case::one_of_three(3, 1, false)]
#[case::two_of_three(3, 2, true)]
#[case::two_of_two(2, 2, false)]
#[case::two_of_four(4, 2, false)]
#[case::fifty_four_percent(11, 5, false)]
#[case::fifty_five_percent(20, 11, true)]
fn a_zone_of_three_or_more_trips_on_fifty_five_percent(#[case] of: usize, #[case] silent: usize, #[case] trips: bool) {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(of, Some("a")));
    nodes[..silent].iter_mut().for_each(|node| node.silent_since = Some(100));
    let of_b = |node: TestNode| TestNode { name: format!("b{}", node.name).into(), ..node };
    nodes.extend(mk_nodes(200, Some("b")).into_iter().map(of_b));
    nodes[of].silent_since = Some(100);
    survey(&mut breaker, &nodes, 112);
    let hold = hold_for(&mut breaker, 0, LostReason::NodeUnreachable, 112);
    assert_eq!(hold, trips.then(|| silent_in(Scope::Zone, silent, of)));
    let mut elsewhere = mk_pod("w");
    elsewhere.node = elsewhere.node.map(|node| NodeEvidence { name: nodes[of].name.clone(), ..node });
    assert_eq!(breaker.hold(&"job".into(), "ort", &elsewhere, LostReason::NodeUnreachable, at(112)), None);
}

#[test]
fn only_nodes_that_carry_workers_count_and_gone_ones_do_not() {
    for (workers, gone) in [(false, false), (true, true)] {
        let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(9, Some("a")));
        nodes[..6].iter_mut().for_each(|node| node.silent_since = Some(100));
        nodes[2..6].iter_mut().for_each(|node| (node.workers, node.gone) = (workers, gone));
        survey(&mut breaker, &nodes, 200);
        assert!(!breaker.is_tripped());
        assert_eq!((breaker.report().nodes, breaker.report().silent), (5, 2));
    }
}

#[rstest]
#[case(LostReason::NodeGone)]
#[case(LostReason::ImagePullFailed)]
#[case(LostReason::CreateFailed)]
#[case(LostReason::StartTimeout)]
#[case(LostReason::Stalled)]
#[case(LostReason::Unschedulable)]
#[case(LostReason::ProcessGone)]
#[case(LostReason::HeartbeatLost)]
fn silent_nodes_hold_no_other_loss(#[case] reason: LostReason) {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(4, None));
    for node in &mut nodes {
        node.silent_since = Some(100);
    }
    survey(&mut breaker, &nodes, 200);
    assert!(holds(&mut breaker, 0, 200));
    assert_eq!(hold_for(&mut breaker, 0, reason, 200), None);
}

#[test]
fn nodes_are_surveyed_every_half_second() {
    let mut breaker = Breaker::default();
    assert!(breaker.needs_survey(at(1)));
    survey(&mut breaker, &[], 1);
    assert!(!breaker.needs_survey(at(1)) && !breaker.needs_survey(at(1) + Duration::from_millis(499)));
    assert!(breaker.needs_survey(at(1) + Duration::from_millis(500)));
}

#[test]
fn a_new_leader_knows_nothing_of_a_silent_node_yet() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(4, None));
    for node in &mut nodes {
        node.silent_since = Some(1);
    }
    survey_listening_since(&mut breaker, &nodes, at(500), 511);
    assert!(!breaker.is_tripped());
    survey_listening_since(&mut breaker, &nodes, at(500), 512);
    assert!(breaker.is_tripped());
    // While the reaper does not receive, and until it has listened for long enough again, no node has returned.
    for (listening_since, now) in [(Moment::NEVER, 600), (at(630), 641)] {
        survey_listening_since(&mut breaker, &nodes, listening_since, now);
        assert_eq!(breaker.report().domains[0].affected, 4);
    }
}

#[test]
fn a_leader_that_steps_down_forgets_everything_but_its_configuration() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(4, None));
    breaker.set_hold_for(Duration::from_secs(7));
    for node in &mut nodes {
        node.silent_since = Some(100);
    }
    survey(&mut breaker, &nodes, 200);
    breaker.clear();
    assert!(!breaker.is_tripped() && breaker.needs_survey(at(200)));
    let report = breaker.report();
    assert_eq!((report.nodes, report.silent, report.hold_for), (0, 0, Duration::from_secs(7)));
}
