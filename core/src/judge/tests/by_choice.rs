//! Rows that match only if the policy asks for them.

use super::*;

fn stall_after(minutes: u64) -> Policy {
    Policy { stall_after: Some(Duration::from_mins(minutes)), ..Policy::default() }
}

/// A pod with fresh signals whose CPU time last grew `seconds` ago.
fn stalled_for(seconds: u64) -> PodEvidence {
    with(|pod| pod.cpu_progress = Some(ago(seconds)))
}

#[rstest]
#[case::stalled(stalled_for(300), LOST(LostReason::Stalled))]
#[case::not_yet(stalled_for(299), PodVerdict::Alive { without_beat: false })]
#[case::no_cpu_time_reported(mk_pod(), PodVerdict::Alive { without_beat: false })]
fn p12_a_live_worker_without_cpu_time_is_lost_if_the_policy_says_so(
    #[case] pod: PodEvidence,
    #[case] expected: PodVerdict,
) {
    assert_eq!(judge_one(pod.clone(), &stall_after(5)).0, expected);
    assert_eq!(verdict_of(pod), PodVerdict::Alive { without_beat: false }, "the row is off by default");
}

#[rstest]
#[case::agent_silent(|pod: &mut PodEvidence| pod.agent = AgentObservation::Alive { last: ago(31) })]
#[case::agent_blind(|pod: &mut PodEvidence| pod.agent = AgentObservation::Blind { last: ago(1) })]
#[case::terminating(|pod: &mut PodEvidence| pod.terminating = Some(Terminating { since: ago(5), grace: Duration::from_secs(30) }))]
#[case::not_running(|pod: &mut PodEvidence| pod.phase = PodPhase::Pending)]
fn p12_requires_an_agent_that_sees_the_worker(#[case] change: fn(&mut PodEvidence)) {
    let mut pod = stalled_for(900);
    change(&mut pod);
    assert_eq!(judge_one(pod, &stall_after(5)).0, PodVerdict::Alive { without_beat: false });
}

#[test]
fn p12_is_judged_again_when_it_is_due() {
    let policy =
        Policy { suspect_after: Duration::from_hours(1), lost_after: Duration::from_hours(1), ..stall_after(5) };
    let (_, recheck_at) = judge_one(stalled_for(290), &policy);
    assert_eq!(recheck_at, Some(NOW + Duration::from_secs(10)));
}

fn unscheduled(since: u64) -> PodEvidence {
    with(|pod| {
        pod.phase = PodPhase::Pending;
        (pod.node, pod.bound_since) = (None, None);
        pod.unscheduled_since = Some(ago(since));
        (pod.beat, pod.agent) = (LastBeat::None, AgentObservation::None);
    })
}

#[rstest]
#[case::due(60, None, LOST(LostReason::Unschedulable))]
#[case::not_yet(59, None, PodVerdict::Waiting)]
#[case::terminating(900, Some(Terminating { since: ago(5), grace: Duration::from_secs(30) }), PodVerdict::Waiting)]
fn p13_a_pod_waits_for_a_node_for_unscheduled_timeout(
    #[case] since: u64,
    #[case] terminating: Option<Terminating>,
    #[case] expected: PodVerdict,
) {
    let policy = Policy { unscheduled_timeout: Some(Duration::from_mins(1)), ..Policy::default() };
    let pod = PodEvidence { terminating, ..unscheduled(since) };
    let (verdict, recheck_at) = judge_one(pod.clone(), &policy);
    assert_eq!(verdict, expected);
    assert_eq!(recheck_at, (since == 59).then_some(NOW + Duration::from_secs(1)));
    assert_eq!(judge_one(pod, &Policy::default()).0, PodVerdict::Waiting, "the row is off by default");
}
