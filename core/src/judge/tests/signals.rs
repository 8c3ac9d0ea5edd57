//! The signals that come with a verdict: their states at the limits, and from when each is counted.

use super::*;
use crate::signals::{AgentSignal, BeatSignal, BeatState, LeaseSignal, NodeSignal, Signals};

fn signals_under(pod: PodEvidence, policy: &Policy) -> Signals {
    let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(7000) };
    let judgement = judge(&evidence, policy, NOW);
    judgement.judged_pods(&evidence, policy).next().expect("the Job has a pod").signals()
}

fn signals(pod: PodEvidence) -> Signals {
    signals_under(pod, &Policy::default())
}

#[rstest]
#[case(LastBeat::Running { last: ago(29) }, BeatState::Fresh)]
#[case(LastBeat::Running { last: ago(30) }, BeatState::Late)]
#[case(LastBeat::Running { last: ago(119) }, BeatState::Late)]
#[case(LastBeat::Running { last: ago(120) }, BeatState::Expired)]
#[case(LastBeat::Ending { last: ago(500) }, BeatState::Ended)]
#[case(LastBeat::None, BeatState::Never)]
fn a_beat_is_fresh_then_late_then_expired(#[case] beat: LastBeat, #[case] expected: BeatState) {
    assert_eq!(signals(PodEvidence { beat, ..mk_pod() }).beat.state, expected);
}

#[rstest]
#[case::sidecar_started(Sidecar::Started(ago(300)), Some(ago(290)), ago(300))]
#[case::sidecar_started_before_this_leader(Sidecar::Started(ago(7100)), Some(ago(290)), ago(7000))]
#[case::sidecar_not_started(Sidecar::NotStarted, Some(ago(290)), ago(3600))]
#[case::no_sidecar(Sidecar::Absent, Some(ago(290)), ago(290))]
#[case::no_sidecar_and_not_running(Sidecar::Absent, None, ago(3600))]
fn a_beat_that_never_came_is_counted_from_when_it_could_have(
    #[case] sidecar: Sidecar,
    #[case] ran_since: Option<Moment>,
    #[case] since: Moment,
) {
    let pod = PodEvidence { beat: LastBeat::None, sidecar, ran_since, ..mk_pod() };
    let expected = BeatSignal { state: BeatState::Never, since, expires_at: since + Duration::from_mins(2) };
    assert_eq!(signals(pod).beat, expected);
}

#[rstest]
#[case(AgentObservation::None, AgentSignal::Never)]
#[case(AgentObservation::Alive { last: ago(29) }, AgentSignal::Alive { last: ago(29) })]
#[case(AgentObservation::Alive { last: ago(30) }, AgentSignal::Silent { last: ago(30), was_alive: true })]
#[case(AgentObservation::Blind { last: ago(29) }, AgentSignal::Blind { last: ago(29) })]
#[case(AgentObservation::Blind { last: ago(30) }, AgentSignal::Silent { last: ago(30), was_alive: false })]
#[case(
    AgentObservation::Gone { since: ago(90), reports: 1 },
    AgentSignal::Gone { since: ago(90), reports: 1, confirmed: false }
)]
#[case(
    AgentObservation::Gone { since: ago(90), reports: 2 },
    AgentSignal::Gone { since: ago(90), reports: 2, confirmed: true }
)]
fn an_agent_without_reports_is_silent_except_about_processes_that_are_gone(
    #[case] agent: AgentObservation,
    #[case] expected: AgentSignal,
) {
    assert_eq!(signals(PodEvidence { agent, ..mk_pod() }).agent, expected);
}

#[test]
fn a_short_lost_after_shortens_the_limits_of_agent_and_lease() {
    let policy =
        Policy { lost_after: Duration::from_secs(10), suspect_after: Duration::from_secs(5), ..Policy::default() };
    assert!(matches!(signals_under(silent_for(9), &policy).agent, AgentSignal::Alive { .. }));
    assert!(matches!(signals_under(silent_for(10), &policy).agent, AgentSignal::Silent { .. }));
    let is_stale = |seconds| signals_under(silent_for(seconds), &policy).lease.map(|lease| lease.is_stale);
    assert_eq!((is_stale(24), is_stale(25)), (Some(false), Some(true)));
}

#[rstest]
#[case(39, false)]
#[case(40, true)]
fn a_lease_is_stale_after_forty_seconds(#[case] seconds: u64, #[case] is_stale: bool) {
    assert_eq!(signals(silent_for(seconds)).lease, Some(LeaseSignal { is_stale, changed: ago(seconds) }));
}

#[rstest]
#[case(9, false, BeatState::Fresh)]
#[case(10, true, BeatState::Late)]
fn signs_of_life_expire_sooner_once_the_node_is_gone(
    #[case] gone_for: u64,
    #[case] is_gone: bool,
    #[case] expected: BeatState,
) {
    let mut pod = silent_for(25);
    let state = NodeState::Deleted { since: ago(gone_for) };
    node(&mut pod).state = state;
    let signals = signals(pod);
    assert_eq!(signals.node, Some(NodeSignal { state, is_gone }));
    assert_eq!(signals.beat.state, expected);
    assert_eq!(matches!(signals.agent, AgentSignal::Silent { .. }), is_gone);
}

#[test]
fn a_terminating_pod_is_stuck_a_minute_after_its_grace_period() {
    assert_eq!(signals(mk_pod()).stuck_at, None);
    let terminating = Some(Terminating { since: ago(100), grace: Duration::from_secs(30) });
    assert_eq!(signals(PodEvidence { terminating, ..mk_pod() }).stuck_at, Some(ago(10)));
}

#[test]
fn an_unscheduled_pod_has_neither_lease_nor_node() {
    let signals = signals(PodEvidence { node: None, bound_since: None, ..mk_pod() });
    assert_eq!((signals.lease, signals.node), (None, None));
}
