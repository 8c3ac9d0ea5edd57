//! The rows about stuck states, init containers, failed containers and reboots.

use super::*;
use crate::{
    evidence::{ExitedContainer, Initializing},
    policy::OnContainerExit,
    verdict::{JobVerdict, StuckState},
};

fn stuck_in(pod: PodEvidence) -> (Option<StuckState>, Option<Moment>) {
    let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(7000) };
    let judgement = judge(&evidence, &Policy::default(), NOW);
    (judgement.pods[0].stuck, judgement.recheck_at)
}

fn unscheduled(since: u64) -> PodEvidence {
    with(|pod| {
        pod.phase = PodPhase::Pending;
        (pod.node, pod.bound_since) = (None, None);
        pod.unscheduled_since = Some(ago(since));
        (pod.beat, pod.agent) = (LastBeat::None, AgentObservation::None);
    })
}

/// A pod that was bound `since` seconds ago and has not started.
fn unstarted(since: u64, state: NodeState) -> PodEvidence {
    with(|pod| {
        pod.phase = PodPhase::Pending;
        (pod.bound_since, pod.ran_since) = (Some(ago(since)), None);
        pod.mains[0].state = ContainerState::NotStarted;
        (pod.sidecar, pod.beat, pod.agent) = (Sidecar::NotStarted, LastBeat::None, AgentObservation::None);
        node(pod).state = state;
    })
}

fn exited(exit_code: i32, since: u64) -> PodEvidence {
    with(|pod| pod.exited = Some(ExitedContainer { container: "first".into(), exit_code, since: ago(since) }))
}

#[rstest]
#[case::s1_due(unscheduled(600), Some(StuckState::Unscheduled))]
#[case::s1_not_yet(unscheduled(599), None)]
#[case::s2_due(unstarted(600, NodeState::NotReady), Some(StuckState::NodeNotReady))]
#[case::s2_not_yet(unstarted(599, NodeState::NotReady), None)]
#[case::s2_a_ready_node_is_a_case_of_p3(unstarted(600, NodeState::Ready), None)]
#[case::s2_a_started_pod_is_none(PodEvidence { mains: mk_pod().mains, ..unstarted(600, NodeState::NotReady) }, None)]
#[case::s3_due(exited(0, 600), Some(StuckState::ContainerExited))]
#[case::s3_not_yet(exited(0, 599), None)]
#[case::deleted(PodEvidence { terminating: Some(Terminating { since: ago(1), grace: Duration::from_secs(30) }), ..exited(0, 600) }, None)]
#[case::healthy(mk_pod(), None)]
fn a_pod_that_waits_for_start_timeout_is_stuck(#[case] pod: PodEvidence, #[case] expected: Option<StuckState>) {
    assert_eq!(stuck_in(pod).0, expected);
}

#[test]
fn a_stuck_state_is_judged_when_it_is_due() {
    assert_eq!(stuck_in(unscheduled(599)).1, Some(NOW + Duration::from_secs(1)));
}

#[test]
fn a_container_that_has_ended_does_not_hide_that_its_pod_is_lost() {
    let pod = PodEvidence { exited: exited(0, 600).exited, ..silent_for(3000) };
    assert_eq!(stuck_in(pod.clone()).0, None);
    assert_eq!(verdict_of(pod), LOST(LostReason::NodeUnreachable));
}

#[rstest]
#[case::failed(exited(3, 0), true)]
#[case::succeeded(exited(0, 600), false)]
#[case::being_deleted(PodEvidence { terminating: Some(Terminating { since: ago(1), grace: Duration::ZERO }), ..exited(3, 1) }, false)]
#[case::has_ended(PodEvidence { phase: PodPhase::Failed, ..exited(3, 1) }, false)]
#[case::healthy(mk_pod(), false)]
fn j8_a_failed_container_fails_its_job_if_the_policy_says_so(#[case] pod: PodEvidence, #[case] fails: bool) {
    let evidence = Evidence { job: mk_job(), pods: vec![mk_pod(), pod], listening_since: ago(7000) };
    let verdict = |on_container_exit| judge(&evidence, &Policy { on_container_exit, ..Policy::default() }, NOW).job;
    assert_eq!(verdict(OnContainerExit::Fail) == JobVerdict::ContainerFailed, fails);
    assert_eq!(verdict(OnContainerExit::Wait), JobVerdict::Open, "the row is off by default");
}

/// A pod whose init container has run for `since` seconds, with a sidecar that beats.
fn initializing(since: u64) -> PodEvidence {
    PodEvidence {
        initializing: Some(Initializing { container: "prepare".into(), since: ago(since) }),
        beat: LastBeat::Running { last: ago(5) },
        sidecar: Sidecar::Started(ago(since)),
        ..unstarted(since, NodeState::Ready)
    }
}

#[rstest]
#[case::due(initializing(60), LOST(LostReason::InitTimeout))]
#[case::not_yet(initializing(59), PodVerdict::Alive { without_beat: false })]
#[case::its_node_is_silent(PodEvidence { node: silent_for(45).node, ..initializing(60) }, PodVerdict::Alive { without_beat: false })]
#[case::a_main_container_runs(PodEvidence { agent: AgentObservation::Alive { last: ago(5) }, ..initializing(60) }, PodVerdict::Alive { without_beat: false })]
#[case::being_deleted(PodEvidence { terminating: Some(Terminating { since: ago(1), grace: Duration::from_secs(30) }), ..initializing(60) }, PodVerdict::Alive { without_beat: false })]
fn p14_an_init_container_that_runs_for_too_long_is_lost_if_the_policy_says_so(
    #[case] pod: PodEvidence,
    #[case] expected: PodVerdict,
) {
    let policy = Policy { init_timeout: Some(Duration::from_mins(1)), ..Policy::default() };
    assert_eq!(judge_one(pod.clone(), &policy).0, expected);
    assert_eq!(verdict_of(pod), PodVerdict::Alive { without_beat: false }, "the row is off by default");
}

#[rstest]
#[case::due(30, LOST(LostReason::NodeGone))]
#[case::the_kubelet_has_time_to_report(29, PodVerdict::Suspect)]
fn p2_a_pod_that_is_not_reported_after_a_boot_of_its_node_is_lost(#[case] since: u64, #[case] expected: PodVerdict) {
    let mut pod = PodEvidence { rebooted: Some(ago(since)), ..silent_for(60) };
    node(&mut pod).state = NodeState::Ready;
    node(&mut pod).lease_changed = ago(1);
    assert_eq!(verdict_of(pod), expected);
}
