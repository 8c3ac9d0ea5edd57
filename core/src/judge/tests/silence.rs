//! Rows about pods whose signals stopped.

use super::*;

#[rstest]
#[case::expired(|_: &mut PodEvidence| {}, LOST(LostReason::NodeUnreachable))]
#[case::never(|pod: &mut PodEvidence| pod.beat = LastBeat::None, LOST(LostReason::NodeUnreachable))]
#[case::blind(|pod: &mut PodEvidence| pod.agent = AgentObservation::Blind { last: ago(1) }, LOST(LostReason::NodeUnreachable))]
#[case::never_bound_long(|pod: &mut PodEvidence| {
    pod.beat = LastBeat::None;
    pod.sidecar = Sidecar::NotStarted;
}, LOST(LostReason::NodeUnreachable))]
#[case::late_only(|pod: &mut PodEvidence| pod.beat = LastBeat::Running { last: ago(119) }, PodVerdict::Suspect)]
#[case::sidecar_just_started(|pod: &mut PodEvidence| {
    pod.beat = LastBeat::None;
    pod.sidecar = Sidecar::Started(ago(119));
}, PodVerdict::Waiting)]
#[case::lease_fresh(|pod: &mut PodEvidence| node(pod).lease_changed = ago(39), PodVerdict::Unseen)]
fn p8_a_pod_without_beat_agent_and_lease_is_lost(#[case] change: fn(&mut PodEvidence), #[case] expected: PodVerdict) {
    let mut pod = silent_for(120);
    change(&mut pod);
    assert_eq!(verdict_of(pod), expected);
}

#[test]
fn p8_counts_a_beat_that_never_came_from_the_start_of_leadership() {
    let mut pod = silent_for(120);
    pod.beat = LastBeat::None;
    let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(119) };
    assert_eq!(judge(&evidence, &Policy::default(), NOW).pods[0].verdict, PodVerdict::Waiting);
}

#[rstest]
#[case::twenty(20, 20, LOST(LostReason::NodeUnreachable))]
#[case::lease_within_the_least(10, 19, PodVerdict::Unseen)]
#[case::lease_at_the_least(10, 20, LOST(LostReason::NodeUnreachable))]
fn p8_a_short_lost_after_shortens_the_lease_down_to_twenty_seconds(
    #[case] lost_after: u64,
    #[case] silent: u64,
    #[case] expected: PodVerdict,
) {
    let policy = Policy {
        lost_after: Duration::from_secs(lost_after),
        suspect_after: Duration::from_secs(lost_after / 2),
        ..Policy::default()
    };
    assert_eq!(judge_one(silent_for(silent), &policy).0, expected);
}

#[rstest]
#[case(Unseen::Report, PodVerdict::Unseen)]
#[case(Unseen::Lost, LOST(LostReason::HeartbeatLost))]
fn p9_an_unseen_pod_on_a_healthy_node_is_lost_only_if_the_policy_says_so(
    #[case] unseen: Unseen,
    #[case] expected: PodVerdict,
) {
    let mut pod = silent_for(120);
    node(&mut pod).lease_changed = ago(5);
    assert_eq!(judge_one(pod, &Policy { unseen, ..Policy::default() }).0, expected);
}

#[rstest]
#[case::the_worker_has_just_ended(AgentObservation::Gone { since: ago(1), reports: 1 }, 11, PodVerdict::Suspect)]
#[case::a_new_agent_does_not_know_it(AgentObservation::Blind { last: ago(1) }, 119, PodVerdict::Suspect)]
#[case::for_long_enough(AgentObservation::Blind { last: ago(1) }, 120, LOST(LostReason::HeartbeatLost))]
#[case::the_agent_went_silent(AgentObservation::Alive { last: ago(119) }, 119, PodVerdict::Suspect)]
fn p9_a_pod_is_unseen_once_the_agent_has_not_seen_it_for_lost_after(
    #[case] agent: AgentObservation,
    #[case] seen: u64,
    #[case] expected: PodVerdict,
) {
    // Its beats never arrived.
    let mut pod = silent_for(3000);
    node(&mut pod).lease_changed = ago(5);
    (pod.agent, pod.seen_alive) = (agent, Some(ago(seen)));
    assert_eq!(judge_one(pod, &Policy { unseen: Unseen::Lost, ..Policy::default() }).0, expected);
}

#[test]
fn p9_a_pod_that_waits_for_its_images_is_not_unseen() {
    let mut pod = waiting("ContainerCreating", false);
    pod.starting_since = Some(ago(300));
    pod.bound_since = Some(ago(300));
    pod.sidecar = Sidecar::NotStarted;
    pod.beat = LastBeat::None;
    pod.agent = AgentObservation::None;
    assert_eq!(verdict_of(pod), PodVerdict::Waiting);
}

#[rstest]
#[case::no_report_could_have_come(1, PodVerdict::Waiting)]
#[case::no_report_came(120, PodVerdict::Unseen)]
fn p9_signals_of_a_pod_without_a_sidecar_are_due_from_its_start(#[case] ran: u64, #[case] expected: PodVerdict) {
    let pod = with(|pod| {
        pod.sidecar = Sidecar::Absent;
        (pod.beat, pod.agent) = (LastBeat::None, AgentObservation::None);
        // Its init containers ran for an hour.
        pod.ran_since = Some(ago(ran));
    });
    assert_eq!(verdict_of(pod), expected);
}

#[rstest]
#[case(30, PodVerdict::Suspect)]
#[case(29, PodVerdict::Alive { without_beat: false })]
fn p10_a_late_beat_is_suspect(#[case] last: u64, #[case] expected: PodVerdict) {
    let pod = with(|pod| {
        pod.beat = LastBeat::Running { last: ago(last) };
        pod.agent = AgentObservation::None;
    });
    assert_eq!(verdict_of(pod), expected);
}
