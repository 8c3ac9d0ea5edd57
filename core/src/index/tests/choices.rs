//! What only some policies ask for: zones, waiting for a node, running time, CPU time; and the policies themselves.

use super::*;
use crate::{
    evidence::Active,
    facts::{job::Start, node::NodeFacts},
    policy::{Changes, Labels, OnLost, Origin, PolicyField, Setting},
    snapshot::JobSnapshot,
};

// Zones.

fn mk_zoned(name: &str, zone: &str) -> NodeFacts {
    NodeFacts { zone: Some(zone.into()), ..mk_node(name, Health::Ready) }
}

#[test]
fn a_pod_is_in_the_zone_of_its_node() {
    let mut state = mk_state();
    assert_eq!(node(&state).zone, None);
    state.apply_node(&mk_zoned("node-1", "a"), moment(1));
    assert!(changed(&mut state), "a label may come late");
    assert_eq!(node(&state).zone.as_deref(), Some("a"));
}

// Waiting for a node.

#[test]
fn a_pod_is_unscheduled_until_it_has_a_node_or_ends() {
    let mut state = Index::default();
    state.apply_job(mk_job("job"), moment(0));
    let unbound = |phase| PodFacts { node: None, phase, ..mk_pod("pod", "job") };
    state.apply_pod(unbound(PodPhase::Pending), moment(5));
    state.apply_pod(PodFacts { name: "changed".to_owned(), ..unbound(PodPhase::Pending) }, moment(9));
    assert_eq!(pod(&state).unscheduled_since, Some(moment(5)));
    state.apply_pod(unbound(PodPhase::Failed), moment(10));
    assert_eq!(pod(&state).unscheduled_since, None);
    state.apply_pod(mk_pod("other", "job"), moment(10));
    assert_eq!(evidence(&state).pods[1].unscheduled_since, None);
}

// Running time.

#[test]
fn a_job_is_active_since_its_start_time_whenever_that_was_seen() {
    let mut state = Index::default();
    let start = |at: i64, ago| {
        let at = jiff::Timestamp::from_second(at).expect("in range");
        JobFacts { started: Some(Start { at, ago: Duration::from_secs(ago) }), ..mk_job("job") }
    };
    let active = |state: &Index| evidence(state).job.active;
    state.apply_job(JobFacts { started: None, ..mk_job("job") }, moment(1));
    assert_eq!(active(&state), None);
    state.apply_job(start(1000, 500), moment(5));
    let at = |second| jiff::Timestamp::from_second(second).expect("in range");
    let expected = Some(Active { start: at(1000), since: moment(5), before: Duration::from_secs(500) });
    assert_eq!(active(&state), expected);
    // The same start, read again later.
    state.apply_job(JobFacts { owned: true, ..start(1000, 504) }, moment(9));
    assert_eq!(active(&state), expected);
    // Suspended, and resumed.
    state.apply_job(JobFacts { started: None, suspended: true, ..mk_job("job") }, moment(10));
    assert_eq!(active(&state), None);
    state.apply_job(start(2000, 1), moment(20));
    assert_eq!(active(&state), Some(Active { start: at(2000), since: moment(20), before: Duration::from_secs(1) }));
}

// CPU time.

fn report_cpu(state: &mut Index, cpu_ms: u64, now: u64) {
    let mut seen = mk_report(&[("pod", 1)]);
    seen.pods[0].containers[0].cpu_ms = cpu_ms;
    report(state, &seen, now);
}

#[test]
fn progress_is_when_cpu_time_last_grew_or_restarted() {
    let mut state = mk_state();
    assert_eq!(pod(&state).cpu_progress, None);
    report(&mut state, &Report { pods: Vec::new(), ..mk_report(&[]) }, 1);
    assert_eq!(pod(&state).cpu_progress, None);
    for (cpu_ms, now, progress) in [(0, 2, 2), (0, 12, 2), (10, 22, 22), (10, 32, 22), (5, 42, 42), (5, 52, 42)] {
        report_cpu(&mut state, cpu_ms, now);
        assert_eq!(pod(&state).cpu_progress, Some(moment(progress)), "at {now}");
    }
    state.start_listening(moment(60));
    assert_eq!(pod(&state).cpu_progress, None, "counted from the first report that this leader receives");
}

#[test]
fn progress_after_a_pause_is_a_change() {
    let mut state = mk_state();
    for now in [1, 11, 21, 31] {
        report_cpu(&mut state, 10, now);
    }
    changed(&mut state);
    report_cpu(&mut state, 10, 41);
    assert!(!changed(&mut state));
    report_cpu(&mut state, 20, 51);
    assert!(changed(&mut state));
    report_cpu(&mut state, 30, 61);
    assert!(!changed(&mut state), "it just goes on");
}

#[test]
fn the_cpu_time_of_the_sidecar_is_not_progress() {
    let mut state = mk_state();
    report_cpu(&mut state, 10, 1);
    let mut seen = mk_report(&[("pod", 1)]);
    seen.pods[0].containers[0].cpu_ms = 10;
    seen.pods[0].containers.push(crate::builders::facts::mk_container("side", 1));
    seen.pods[0].containers[1].cpu_ms = 999;
    report(&mut state, &seen, 11);
    assert_eq!(pod(&state).cpu_progress, Some(moment(1)));
}

// Policies.

#[test]
fn changed_policies_apply_to_every_job() {
    let mut state = mk_state();
    let own = Changes::from_iter([Setting::OnLost(OnLost::Fail)]);
    let labels = Labels::keep([(&"size".to_owned(), &"big".to_owned())]);
    state.apply_job(JobFacts { own, labels, ..mk_job("job") }, moment(1));
    changed(&mut state);
    let mut policies = Policies::default();
    policies.set_file(
        serde_saphyr::from_str("set: {onLost: report}\nrules: [{match: {size: big}, set: {lostAfter: 90s}}]")
            .expect("valid"),
    );
    state.apply_policies(&policies);
    assert!(changed(&mut state));
    let JobSnapshot { policy, origins, .. } = known(&state, 2);
    assert_eq!((policy.on_lost, policy.lost_after), (OnLost::Fail, Duration::from_secs(90)));
    assert_eq!(origins.of(PolicyField::OnLost), Origin::Job);
    assert_eq!(origins.of(PolicyField::LostAfter), Origin::Rule("size=big".into()));
    state.apply_policies(&policies);
    assert!(!changed(&mut state), "nothing new");
}
