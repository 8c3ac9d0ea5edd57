//! Sidecars beat, agents report, and usage adds up.

use super::*;
use crate::policy::{Effective, Policy};

// Beats.

#[test]
fn a_beat_of_an_unknown_pod_or_from_another_node_is_rejected() {
    let mut state = mk_state();
    assert_eq!(state.beat(&"x".into(), None, Phase::Running, moment(1)), Err(BeatRejected::UnknownPod));
    let elsewhere = state.beat(&"pod".into(), Some(&"node-2".into()), Phase::Running, moment(1));
    assert_eq!(elsewhere, Err(BeatRejected::WrongNode));
    assert_eq!(pod(&state).beat, LastBeat::None);
}

#[test]
fn a_beat_may_arrive_before_the_binding() {
    let mut state = mk_state();
    state.apply_pod(PodFacts { node: None, ..mk_pod("new", "job") }, moment(1));
    assert_eq!(state.beat(&"new".into(), Some(&"node-2".into()), Phase::Running, moment(2)), Ok(Command::Continue));
}

#[test]
fn a_later_beat_revokes_ending() {
    let mut state = mk_state();
    beat(&mut state, Phase::Ending, 1).expect("known");
    assert_eq!(pod(&state).beat, LastBeat::Ending { last: moment(1) });
    beat(&mut state, Phase::Running, 2).expect("known");
    assert_eq!(pod(&state).beat, LastBeat::Running { last: moment(2) });
}

#[test]
fn beats_of_a_terminating_pod_are_accepted() {
    let mut state = mk_state();
    state.apply_pod(PodFacts { grace: Some(Duration::from_secs(30)), ..mk_pod("pod", "job") }, moment(1));
    assert_eq!(beat(&mut state, Phase::Running, 2), Ok(Command::Continue));
}

#[test]
fn an_abandoned_pod_is_told_to_stop_even_when_its_object_is_gone() {
    let mut state = mk_state();
    state.abandon(&"pod".into());
    assert_eq!(beat(&mut state, Phase::Running, 1), Ok(Command::Stop));
    state.delete_pod(&"pod".into(), moment(2));
    state.delete_job(&"job".into(), moment(2));
    state.forget_job(&"job".into());
    assert_eq!(beat(&mut state, Phase::Running, 3), Ok(Command::Stop));
}

#[rstest]
#[case::first_beat(None, Phase::Running, 1, true)]
#[case::in_time(Some(Phase::Running), Phase::Running, 11, false)]
#[case::after_a_silence(Some(Phase::Running), Phase::Running, 31, true)]
#[case::ending(Some(Phase::Running), Phase::Ending, 2, true)]
#[case::revoked(Some(Phase::Ending), Phase::Running, 2, true)]
fn only_beats_that_may_change_a_verdict_mark_the_job_as_changed(
    #[case] before: Option<Phase>,
    #[case] phase: Phase,
    #[case] now: u64,
    #[case] expected: bool,
) {
    let mut state = mk_state();
    if let Some(before) = before {
        beat(&mut state, before, 1).expect("known");
    }
    state.take_changed();
    beat(&mut state, phase, now).expect("known");
    assert_eq!(changed(&mut state), expected);
}

#[test]
fn the_policy_decides_how_long_a_pause_has_to_be() {
    let mut state = mk_state();
    let policy = Policy { suspect_after: Duration::from_secs(5), ..Policy::default() };
    let effective = Arc::new(Effective { policy, ..Effective::default() });
    state.apply_job(JobFacts { effective, ..mk_job("job") }, moment(0));
    beat(&mut state, Phase::Running, 1).expect("known");
    state.take_changed();
    beat(&mut state, Phase::Running, 6).expect("known");
    assert!(changed(&mut state));
}

// Reports.

#[test]
fn a_report_with_a_pod_of_another_node_is_rejected_as_a_whole() {
    let mut state = mk_state();
    state.apply_pod(PodFacts { node: Some("node-2".into()), ..mk_pod("foreign", "job") }, moment(0));
    let result = state.report(&"node-1".into(), &mk_report(&[("pod", 1), ("foreign", 0)]), moment(1));
    assert_eq!(result, Err(ForeignPod { pod: "foreign".into(), node: "node-1".into() }));
    assert_eq!(pod(&state).agent, AgentObservation::None);
}

#[test]
fn unknown_pods_in_a_report_are_skipped() {
    let mut state = mk_state();
    state.apply_pod(PodFacts { node: None, ..mk_pod("unbound", "job") }, moment(0));
    let wanted = report(&mut state, &mk_report(&[("gone", 1), ("unbound", 1), ("pod", 1)]), 1);
    assert_eq!(wanted, ["pod".into()]);
    assert_eq!(pod(&state).agent, AgentObservation::Alive { last: moment(1) });
}

#[test]
fn a_blind_agent_sees_no_pod() {
    let mut state = mk_state();
    let blind = Report { blind: Some("hidepid".to_owned()), ..mk_report(&[("pod", 3)]) };
    report(&mut state, &blind, 1);
    assert_eq!(pod(&state).agent, AgentObservation::Blind { last: moment(1) });
}

#[test]
fn a_pod_missing_from_the_report_is_not_seen() {
    let mut state = mk_state();
    report(&mut state, &mk_report(&[]), 1);
    assert_eq!(pod(&state).agent, AgentObservation::Blind { last: moment(1) });
}

#[test]
fn two_consecutive_reports_make_gone() {
    let mut state = mk_state();
    report(&mut state, &mk_report(&[("pod", 1)]), 10);
    report(&mut state, &mk_report(&[("pod", 0)]), 20);
    state.take_changed();
    report(&mut state, &mk_report(&[("pod", 0)]), 30);
    assert_eq!(pod(&state).agent, AgentObservation::Gone { since: moment(20), reports: 2 });
    assert!(changed(&mut state));
    report(&mut state, &mk_report(&[("pod", 0)]), 40);
    assert!(!changed(&mut state));
}

#[rstest]
#[case::restarted(mk_main("main", ContainerState::Running, Some("second")), true)]
#[case::waits_to_restart(mk_main("main", ContainerState::WaitingToRestart, Some("pod-main")), true)]
#[case::ended(mk_main("main", ContainerState::Terminated, Some("pod-main")), false)]
fn gone_is_invalidated_when_a_container_runs_again(#[case] main: crate::facts::pod::MainFacts, #[case] void: bool) {
    let mut state = mk_state();
    report(&mut state, &mk_report(&[("pod", 0)]), 10);
    state.apply_pod(PodFacts { mains: vec![main], ..mk_pod("pod", "job") }, moment(11));
    let expected = if void {
        AgentObservation::Blind { last: moment(10) }
    } else {
        AgentObservation::Gone { since: moment(10), reports: 1 }
    };
    assert_eq!(pod(&state).agent, expected);
}

#[test]
fn an_ended_pod_is_requested_until_its_last_report_arrived() {
    let mut state = mk_state();
    assert_eq!(report(&mut state, &mk_report(&[("pod", 1)]), 1), ["pod".into()]);
    state.apply_pod(PodFacts { phase: PodPhase::Succeeded, ..mk_pod("pod", "job") }, moment(2));
    let blind = Report { blind: Some("hidepid".to_owned()), ..Report::default() };
    assert_eq!(report(&mut state, &blind, 3), ["pod".into()]);
    assert!(report(&mut state, &mk_report(&[("pod", 0)]), 4).is_empty());
    assert!(report(&mut state, &mk_report(&[]), 5).is_empty());
}

#[test]
fn the_answer_to_a_node_without_pods_is_empty() {
    let mut state = mk_state();
    assert_eq!(state.report(&"node-9".into(), &mk_report(&[]), moment(1)), Ok(Vec::new()));
    assert_eq!(state.nodes(), 1);
}

// Usage.

fn mk_usage_report(pod: &str, rss: u64) -> Report {
    let mut report = mk_report(&[(pod, 1)]);
    report.pods[0].containers[0].rss_sum_peak_bytes = rss;
    report
}

#[test]
fn usage_outlives_its_pod_and_is_the_largest_of_all_attempts() {
    let mut state = mk_state();
    assert_eq!(known(&state, 1).usage, None);
    report(&mut state, &mk_usage_report("pod", 700), 10);
    state.apply_pod(PodFacts { oom_killed: true, phase: PodPhase::Failed, ..mk_pod("pod", "job") }, moment(20));
    state.delete_pod(&"pod".into(), moment(25));
    state.apply_pod(mk_pod("second", "job"), moment(30));
    report(&mut state, &mk_usage_report("second", 300), 40);
    let usage = known(&state, 100).usage.expect("observed");
    assert_eq!(usage.peak_rss_bytes, 700);
    assert!(usage.censored);
    assert_eq!(usage.wall_ms, Some(70_000));
}

#[test]
fn the_run_time_reported_by_the_kubelet_wins() {
    let mut state = mk_state();
    report(&mut state, &mk_usage_report("pod", 1), 10);
    let ended = PodFacts { ran_for: Some(Duration::from_secs(9)), phase: PodPhase::Succeeded, ..mk_pod("pod", "job") };
    state.apply_pod(ended, moment(20));
    assert_eq!(known(&state, 100).usage.and_then(|usage| usage.wall_ms), Some(9_000));
}

#[test]
fn an_unknown_pod_is_requested_until_pods_are_listed() {
    let mut state = Index::default();
    state.start_listening(moment(0));
    let reported = mk_report(&[("pod", 0)]);
    assert_eq!(report(&mut state, &reported, 1), [PodUid::from("pod")], "its end is not known to this leader yet");
    state.pods_listed(&HashSet::new(), moment(2));
    assert!(report(&mut state, &reported, 3).is_empty());
}
