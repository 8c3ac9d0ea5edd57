//! What is printed.

use jobwarden_common::api::{BreakerDomain, BreakerHeld};
use rstest::rstest;

use super::*;

fn held(number: usize) -> BreakerHeld {
    BreakerHeld { kind: "Node".to_owned(), namespace: None, name: format!("node-{number}"), held_seconds: 75 }
}

fn status(domains: Vec<BreakerDomain>) -> BreakerStatus {
    BreakerStatus { holds: !domains.is_empty(), held_jobs: 60, nodes: 9, silent: 7, hold_for_seconds: 900, domains }
}

fn zone() -> BreakerDomain {
    BreakerDomain {
        counted: "silent-nodes".to_owned(),
        scope: "zone".to_owned(),
        name: Some("a".to_owned()),
        affected: 7,
        of: 9,
        since: "2026-01-02T03:04:05.000Z".to_owned(),
        returning: false,
        held: (0..7).map(held).collect(),
        next_release_in_seconds: Some(840),
    }
}

#[test]
fn a_tripped_breaker_names_what_it_holds_and_what_is_released_next() {
    let expected = "Breaker tripped: it holds the losses of 60 Jobs
  nodes     9 carry workers, 7 of them are silent
  hold for  15m, then one node a minute is released

In zone a, 7 of 9 nodes are silent, since 2026-01-02T03:04:05.000Z
  next       released in 14m
  held       Node node-0, for 1m 15s
  held       Node node-1, for 1m 15s
  held       Node node-2, for 1m 15s
  held       Node node-3, for 1m 15s
  held       Node node-4, for 1m 15s
             and 2 more; -o wide shows all
";
    assert_eq!(report(&status(vec![zone()]), Detail::Brief), expected);
    let wide = report(&status(vec![zone()]), Detail::Wide);
    assert!(wide.contains("Node node-6") && !wide.contains("more"), "{wide}");
}

#[test]
fn a_namespace_whose_jobs_return_and_a_cluster_without_a_reporting_node_are_said() {
    let job = BreakerHeld { kind: "Job".to_owned(), namespace: Some("ort".to_owned()), ..held(1) };
    let namespace = BreakerDomain {
        counted: "heartbeat-lost-jobs".to_owned(),
        scope: "namespace".to_owned(),
        name: Some("ort".to_owned()),
        returning: true,
        held: vec![job],
        ..zone()
    };
    let cluster = BreakerDomain { scope: "cluster".to_owned(), name: None, next_release_in_seconds: None, ..zone() };
    let text = report(&status(vec![cluster, namespace]), Detail::Brief);
    for part in [
        "In the cluster, 7 of 9 nodes are silent",
        "next       released never, while no node that carries workers reports",
        "In namespace ort, 7 of 9 Jobs have lost their heartbeats",
        "returning",
        "held       Job ort/node-1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_closed_breaker_says_so() {
    assert!(report(&status(Vec::new()), Detail::Brief).starts_with("Breaker closed: it holds nothing\n"));
}

#[rstest]
#[case(0, "The breaker held nothing.\n")]
#[case(3, "Released 3 nodes and Jobs. What they held is acted upon now.\n")]
fn a_release_says_what_was_released(#[case] released: usize, #[case] expected: &str) {
    assert_eq!(report::released(&BreakerReleased { released }), expected);
}
