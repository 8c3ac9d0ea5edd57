//! Rows about pods whose signals stopped.

use super::*;

#[rstest]
#[case::expired(|_: &mut PodEvidence| {}, LOST(LostReason::NodeUnreachable))]
#[case::never(|pod: &mut PodEvidence| pod.beat = LastBeat::None, LOST(LostReason::NodeUnreachable))]
#[case::blind(|pod: &mut PodEvidence| pod.agent = AgentObservation::Blind { last: ago(1) }, LOST(LostReason::NodeUnreachable))]
#[case::seen_before_the_agent_restarted(|pod: &mut PodEvidence| {
    (pod.agent, pod.seen_alive) = (AgentObservation::Blind { last: ago(1) }, Some(ago(119)));
}, PodVerdict::Suspect)]
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
#[case::thirty(30, 30, LOST(LostReason::NodeUnreachable))]
#[case::lease_within_the_least(10, 24, PodVerdict::Unseen)]
#[case::lease_at_the_least(10, 25, LOST(LostReason::NodeUnreachable))]
fn p8_a_short_lost_after_shortens_the_lease_down_to_25_seconds(
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

#[rstest]
#[case::just_now(1, PodVerdict::Suspect)]
#[case::for_less_than_lost_after(119, PodVerdict::Suspect)]
#[case::for_lost_after(120, LOST(LostReason::HeartbeatLost))]
fn p9_a_node_that_was_away_gets_lost_after_for_its_signals_to_arrive(#[case] back: u64, #[case] expected: PodVerdict) {
    let mut pod = silent_for(3000);
    (node(&mut pod).lease_changed, node(&mut pod).lease_steady_since) = (ago(1), ago(back));
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
fn p9_signals_of_a_pod_without_a_sidecar_are_due_from_its_start(
    #[case] ran: u64,
    #[case] expected: PodVerdict,
    #[values(Sidecar::Absent, Sidecar::LeftOut)] sidecar: Sidecar,
) {
    let pod = with(|pod| {
        pod.sidecar = sidecar;
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

/// A pod on a healthy node that no agent sees, and that beat so many seconds ago.
fn beating(last: u64) -> PodEvidence {
    with(|pod| (pod.beat, pod.agent) = (LastBeat::Running { last: ago(last) }, AgentObservation::None))
}

/// The verdict on a pod while the reaper does not receive beats and reports, or since when it has received them again.
fn verdict_listening_since(pod: PodEvidence, listening_since: Moment) -> PodVerdict {
    let policy = Policy { unseen: Unseen::Lost, ..Policy::default() };
    judge(&Evidence { job: mk_job(), pods: vec![pod], listening_since }, &policy, NOW).pods[0].verdict
}

#[rstest]
#[case::p8(silent_for(3000), LOST(LostReason::NodeUnreachable))]
#[case::p9(beating(3000), LOST(LostReason::HeartbeatLost))]
#[case::p10(beating(40), PodVerdict::Suspect)]
fn silence_counts_for_nothing_while_the_reaper_does_not_receive_and_starts_again_afterwards(
    #[case] pod: PodEvidence,
    #[case] in_the_end: PodVerdict,
) {
    assert_eq!(verdict_listening_since(pod.clone(), Moment::NEVER), PodVerdict::Waiting);
    assert_eq!(verdict_listening_since(pod.clone(), ago(29)), PodVerdict::Waiting);
    assert_eq!(verdict_listening_since(pod.clone(), ago(30)), PodVerdict::Suspect);
    assert_eq!(verdict_listening_since(pod.clone(), ago(119)), PodVerdict::Suspect);
    assert_eq!(verdict_listening_since(pod, ago(120)), in_the_end);
}

#[test]
fn a_sign_of_life_counts_for_as_long_as_ever_while_the_reaper_does_not_receive() {
    assert_eq!(verdict_listening_since(beating(29), Moment::NEVER), PodVerdict::Alive { without_beat: false });
    assert_eq!(verdict_listening_since(beating(30), Moment::NEVER), PodVerdict::Waiting);
}

#[rstest]
#[case::beats_may_come(LastBeat::Running { last: ago(3000) }, AgentObservation::None, Sidecar::Started(ago(3000)), 25)]
#[case::a_first_beat_may_come(LastBeat::None, AgentObservation::None, Sidecar::Started(ago(3000)), 25)]
#[case::a_report_may_come(LastBeat::Ending { last: ago(3000) }, AgentObservation::Alive { last: ago(3000) }, Sidecar::Started(ago(3000)), 25)]
#[case::a_first_report_may_come(LastBeat::None, AgentObservation::None, Sidecar::Absent, 25)]
#[case::nothing_may_come(LastBeat::Ending { last: ago(3000) }, AgentObservation::Gone { since: ago(3000), reports: 2 }, Sidecar::Started(ago(3000)), 0)]
fn p2_a_worker_on_a_gone_node_that_can_be_heard_gets_its_chance(
    #[case] beat: LastBeat,
    #[case] agent: AgentObservation,
    #[case] sidecar: Sidecar,
    #[case] chance: u64,
) {
    let pod = with(|pod| {
        (pod.beat, pod.agent, pod.sidecar) = (beat, agent, sidecar);
        node(pod).state = NodeState::Deleted { since: ago(100) };
    });
    assert_eq!(verdict_listening_since(pod.clone(), ago(chance)), LOST(LostReason::NodeGone));
    if chance > 0 {
        assert_ne!(verdict_listening_since(pod.clone(), ago(chance - 1)), LOST(LostReason::NodeGone));
        assert_ne!(verdict_listening_since(pod, Moment::NEVER), LOST(LostReason::NodeGone));
    }
}

#[test]
fn what_an_agent_saw_of_progress_and_ends_is_not_held_against_a_worker_while_nothing_is_received() {
    let policy = Policy { stall_after: Some(Duration::from_mins(1)), ..Policy::default() };
    let judged = |pod, listening_since| {
        judge(&Evidence { job: mk_job(), pods: vec![pod], listening_since }, &policy, NOW).pods[0].verdict
    };
    let stalled = with(|pod| pod.cpu_progress = Some(ago(100)));
    assert_eq!(judged(stalled.clone(), ago(60)), LOST(LostReason::Stalled));
    assert_eq!(judged(stalled, ago(59)), PodVerdict::Alive { without_beat: false });
    let gone = with(|pod| pod.agent = AgentObservation::Gone { since: ago(400), reports: 2 });
    assert_eq!(judged(gone.clone(), ago(180)), LOST(LostReason::ProcessGone));
    assert_eq!(judged(gone.clone(), ago(179)), PodVerdict::Alive { without_beat: false });
    assert_eq!(judged(gone, Moment::NEVER), PodVerdict::Alive { without_beat: false });
}
