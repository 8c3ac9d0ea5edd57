//! What is counted by the previews of Jobs: processes that are gone, by node, and lost heartbeats, by namespace.

use super::*;

fn uid(job: usize) -> JobUid {
    format!("job-{job}").into()
}

fn open() -> JobStatus {
    JobStatus { open: true, ..JobStatus::default() }
}

fn gone_on(nodes: &[usize]) -> JobStatus {
    JobStatus { process_gone: nodes.iter().map(|node| (name(*node), None)).collect(), ..open() }
}

fn silent() -> JobStatus {
    JobStatus { heartbeat_lost: true, ..open() }
}

/// The hold on a Job in its namespace that has lost its heartbeats.
fn heartbeat_hold(breaker: &mut Breaker, job: usize, namespace: &str, now: u64) -> Option<Hold> {
    breaker.hold(&uid(job), namespace, &mk_pod("w"), LostReason::HeartbeatLost, at(now))
}

#[rstest]
#[case::two_nodes(2, 5, false)]
#[case::three_nodes(3, 9, true)]
#[case::too_few_of_all(3, 10, false)]
fn processes_that_are_gone_count_by_node_whatever_the_number_of_jobs(
    #[case] affected: usize,
    #[case] of: usize,
    #[case] trips: bool,
) {
    let (mut breaker, nodes) = (Breaker::default(), mk_nodes(of, None));
    survey(&mut breaker, &nodes, 100);
    for job in 0..60 {
        breaker.update(&uid(job), "ort", gone_on(&[job % affected]), at(100));
    }
    let hold = hold_for(&mut breaker, 0, LostReason::ProcessGone, 100);
    let expected = Hold::Breaker { counted: Counted::ProcessGoneNodes, scope: Scope::Cluster, affected, of };
    assert_eq!(hold, trips.then_some(expected));
    assert!(!holds(&mut breaker, 0, 100), "the two are counted apart");
}

#[test]
fn a_node_counts_until_the_last_of_its_jobs_has_ended() {
    let (mut breaker, nodes) = (Breaker::default(), mk_nodes(4, None));
    survey(&mut breaker, &nodes, 100);
    for job in 0..6 {
        breaker.update(&uid(job), "ort", gone_on(&[job % 3]), at(100));
    }
    let held = |breaker: &mut Breaker, now| hold_for(breaker, 0, LostReason::ProcessGone, now).is_some();
    assert!(held(&mut breaker, 100));
    breaker.update(&uid(1), "ort", JobStatus::default(), at(110));
    survey(&mut breaker, &nodes, 111);
    assert!(held(&mut breaker, 170));
    breaker.update(&uid(4), "ort", open(), at(170));
    survey(&mut breaker, &nodes, 170);
    assert!(held(&mut breaker, 199), "the others may return as well");
    assert!(survey(&mut breaker, &nodes, 200));
    assert!(!held(&mut breaker, 200));
}

#[test]
fn jobs_of_released_nodes_that_are_acted_upon_do_not_release_the_others() {
    let (mut breaker, nodes) = (Breaker::default(), mk_nodes(4, None));
    for job in 0..3 {
        breaker.update(&uid(job), "ort", gone_on(&[job]), at(100));
    }
    for now in 100..=1000 {
        survey(&mut breaker, &nodes, now);
    }
    assert!(hold_for(&mut breaker, 0, LostReason::ProcessGone, 1000).is_none(), "15 min have passed");
    breaker.update(&uid(0), "ort", JobStatus::default(), at(1000));
    for now in 1001..1060 {
        survey(&mut breaker, &nodes, now);
        assert!(hold_for(&mut breaker, 1, LostReason::ProcessGone, now).is_some());
    }
}

#[rstest]
#[case::two_jobs(2, 2, false)]
#[case::three_jobs(3, 9, true)]
#[case::thirty_percent(3, 10, false)]
fn lost_heartbeats_count_within_their_namespace(#[case] lost: usize, #[case] of: usize, #[case] trips: bool) {
    let mut breaker = Breaker::default();
    for job in 0..of {
        breaker.update(&uid(job), "ort", if job < lost { silent() } else { open() }, at(100));
    }
    let expected = Hold::Breaker { counted: Counted::HeartbeatLostJobs, scope: Scope::Namespace, affected: lost, of };
    assert_eq!(heartbeat_hold(&mut breaker, 0, "ort", 100), trips.then_some(expected));
}

#[test]
fn no_jobs_of_one_namespace_hold_a_loss_in_another() {
    let (mut breaker, nodes) = (Breaker::default(), mk_nodes(4, None));
    for job in 0..50 {
        breaker.update(&uid(job), "noisy", silent(), at(100));
    }
    breaker.update(&uid(50), "quiet", silent(), at(100));
    survey(&mut breaker, &nodes, 100);
    assert!(heartbeat_hold(&mut breaker, 0, "noisy", 100).is_some());
    assert_eq!(heartbeat_hold(&mut breaker, 50, "quiet", 100), None);
    assert_eq!(heartbeat_hold(&mut breaker, 50, "unknown", 100), None);
    for reason in [LostReason::NodeUnreachable, LostReason::ProcessGone, LostReason::OutcomeUnknown] {
        assert_eq!(hold_for(&mut breaker, 0, reason, 100), None);
    }
}

#[test]
fn jobs_that_are_held_are_released_one_a_minute_too() {
    let (mut breaker, nodes) = (Breaker::default(), mk_nodes(4, None));
    for job in 0..3 {
        breaker.update(&uid(job), "ort", silent(), at(100));
    }
    let mut releases = Vec::new();
    for now in 100..2000 {
        if survey(&mut breaker, &nodes, now) {
            releases.push(now);
        }
    }
    assert_eq!(releases, [1000, 1060, 1120]);
    assert!(!breaker.is_tripped());
}

#[test]
fn a_namespace_without_open_jobs_is_forgotten() {
    let mut breaker = Breaker::default();
    breaker.update(&uid(0), "ort", silent(), at(100));
    breaker.update(&uid(1), "ort", open(), at(100));
    breaker.update(&uid(1), "ort", open(), at(101));
    for job in 0..2 {
        breaker.update(&uid(job), "", JobStatus::default(), at(101));
    }
    assert!(breaker.namespaces.is_empty() && breaker.jobs.is_empty() && breaker.gone_on.is_empty());
}

#[test]
fn the_report_says_what_is_held_and_what_is_released_next() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(3, Some("a")));
    nodes[..2].iter_mut().for_each(|node| node.silent_since = Some(100));
    for job in 0..3 {
        breaker.update(&uid(job), "ort", silent(), at(112));
    }
    survey(&mut breaker, &nodes, 112);
    let report = breaker.report();
    let domain = |counted, scope, name: &str, affected, held| DomainReport {
        counted,
        scope,
        name: Some(name.to_owned()),
        since: at(112),
        returning: false,
        affected,
        of: 3,
        held,
        next_release: Some(at(112 + 900)),
    };
    let held_nodes = (0..2).map(|node| (Unit::Node(name(node)), at(112))).collect();
    let held_jobs = (0..3).map(|job| (Unit::Job(uid(job)), at(112))).collect();
    let expected = BreakerReport {
        nodes: 3,
        silent: 2,
        hold_for: Duration::from_mins(15),
        domains: vec![
            domain(Counted::SilentNodes, Scope::Zone, "a", 2, held_nodes),
            domain(Counted::HeartbeatLostJobs, Scope::Namespace, "ort", 3, held_jobs),
        ],
    };
    assert_eq!(report, expected);
}

#[test]
fn processes_that_are_seen_again_do_not_count() {
    let (mut breaker, nodes) = (Breaker::default(), mk_nodes(4, None));
    survey(&mut breaker, &nodes, 100);
    for job in 0..3 {
        breaker.update(&uid(job), "ort", gone_on(&[job]), at(100));
    }
    survey(&mut breaker, &nodes, 101);
    assert!(breaker.is_tripped());
    for job in 0..3 {
        breaker.update(&uid(job), "ort", open(), at(110));
    }
    survey(&mut breaker, &nodes, 110);
    survey(&mut breaker, &nodes, 140);
    assert!(!breaker.is_tripped());
}

#[test]
fn a_release_is_of_nodes_and_jobs_alike() {
    let (mut breaker, mut nodes) = (Breaker::default(), mk_nodes(7, None));
    for node in &mut nodes[..3] {
        node.silent_since = Some(100);
    }
    for job in 0..3 {
        breaker.update(&uid(job), "gone", open(), at(110));
        breaker.update(&uid(job), "gone", gone_on(&[3 + job]), at(120));
    }
    for job in 3..7 {
        breaker.update(&uid(job), "silent", silent(), at(120));
    }
    survey(&mut breaker, &nodes, 120);
    assert_eq!(breaker.release(at(121)), 3 + 3 + 4);
    assert_eq!(breaker.release(at(122)), 0);
}

#[rstest]
#[case::processes(gone_on)]
#[case::heartbeats(|_: &[usize]| silent())]
fn a_job_that_changes_does_not_begin_its_hold_anew(#[case] status: fn(&[usize]) -> JobStatus) {
    let (mut breaker, nodes) = (Breaker::default(), mk_nodes(4, None));
    for now in [100, 150] {
        for job in 0..3 {
            breaker.update(&uid(job), "ort", status(&[job]), at(now));
        }
        survey(&mut breaker, &nodes, now);
    }
    let held: Vec<_> = breaker.report().domains[0].held.iter().map(|(_, since)| *since).collect();
    assert_eq!(held, [at(100); 3]);
}
