//! Every row of the table: each test changes the evidence of a healthy pod in what the row is about.

use std::time::Duration;

use rstest::rstest;

use super::*;
use crate::{
    builders::evidence as builders,
    evidence::{
        Active, AgentObservation, ContainerState, Finish, JobEvidence, JobStage, LastBeat, MainContainer, NodeEvidence,
        NodeState, PodEvidence, PodPhase, Retries, Sidecar, StartProblem, Terminating,
    },
    policy::Unseen,
    verdict::{JobVerdict, LostReason, PodVerdict},
};

mod by_choice;
mod laws;
mod of_jobs;
mod signals;
mod silence;
mod stuck;

/// All tests judge at this moment; earlier moments are given as seconds [`ago`].
const NOW: Moment = Moment::at(Duration::from_hours(2));

fn ago(seconds: u64) -> Moment {
    Moment::at(Duration::from_hours(2).saturating_sub(Duration::from_secs(seconds)))
}

fn mk_job() -> JobEvidence {
    JobEvidence { retries: Retries::Left, ..builders::mk_job(JobStage::Open) }
}

/// A pod that runs on a ready node; its last beat and agent report arrived 5 s ago.
fn mk_pod() -> PodEvidence {
    let node = NodeEvidence {
        name: "node-1".into(),
        zone: None,
        state: NodeState::Ready,
        avoided: false,
        lease_changed: ago(5),
        lease_steady_since: ago(3600),
    };
    PodEvidence {
        node: Some(node),
        bound_since: Some(ago(3600)),
        ran_since: Some(ago(3590)),
        sidecar: Sidecar::Started(ago(3590)),
        beat: LastBeat::Running { last: ago(5) },
        agent: AgentObservation::Alive { last: ago(5) },
        ..builders::mk_pod("pod")
    }
}

fn with(change: impl FnOnce(&mut PodEvidence)) -> PodEvidence {
    let mut pod = mk_pod();
    change(&mut pod);
    pod
}

fn node(pod: &mut PodEvidence) -> &mut NodeEvidence {
    pod.node.as_mut().expect("mk_pod makes a bound pod")
}

fn judge_one(pod: PodEvidence, policy: &Policy) -> (PodVerdict, Option<Moment>) {
    let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(7000) };
    let judgement = judge(&evidence, policy, NOW);
    (judgement.pods[0].verdict, judgement.recheck_at)
}

fn verdict_of(pod: PodEvidence) -> PodVerdict {
    judge_one(pod, &Policy::default()).0
}

/// A pod whose node was cut off `seconds` ago: no signal has arrived from it since.
fn silent_for(seconds: u64) -> PodEvidence {
    with(|pod| {
        pod.beat = LastBeat::Running { last: ago(seconds) };
        pod.agent = AgentObservation::Alive { last: ago(seconds) };
        node(pod).lease_changed = ago(seconds);
        node(pod).state = NodeState::NotReady;
    })
}

fn waiting(reason: &str, ours: bool) -> PodEvidence {
    with(|pod| {
        pod.phase = PodPhase::Pending;
        pod.mains[0].state = ContainerState::NotStarted;
        pod.starting_since = Some(ago(600));
        pod.start_problem = Some(StartProblem {
            container: "main".to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            ours,
        });
    })
}

const LOST: fn(LostReason) -> PodVerdict = PodVerdict::Lost;

#[test]
fn p1_an_ended_pod_is_left_to_kubernetes_whatever_its_signals() {
    let ended = |phase| {
        let mut pod = silent_for(3000);
        pod.phase = phase;
        pod
    };
    assert_eq!(verdict_of(ended(PodPhase::Succeeded)), PodVerdict::Finishing);
    assert_eq!(verdict_of(ended(PodPhase::Failed)), PodVerdict::AttemptFailed);
}

#[rstest]
#[case::deleted(NodeState::Deleted { since: ago(10) }, 25, LOST(LostReason::NodeGone))]
#[case::shut_down(NodeState::ShutDown { since: ago(10) }, 25, LOST(LostReason::NodeGone))]
#[case::out_of_service(NodeState::OutOfService { since: ago(10) }, 25, LOST(LostReason::NodeGone))]
#[case::too_soon(NodeState::Deleted { since: ago(9) }, 31, PodVerdict::Suspect)]
#[case::beat_recently(NodeState::Deleted { since: ago(60) }, 24, PodVerdict::Alive { without_beat: false })]
fn p2_a_gone_node_loses_its_silent_pods_after_ten_seconds(
    #[case] state: NodeState,
    #[case] silent: u64,
    #[case] expected: PodVerdict,
) {
    let mut pod = silent_for(silent);
    node(&mut pod).state = state;
    assert_eq!(verdict_of(pod), expected);
}

#[test]
fn p2_does_not_overflow_with_endless_timeouts() {
    let mut pod = silent_for(31);
    node(&mut pod).state = NodeState::Deleted { since: ago(60) };
    let never = Policy { suspect_after: Duration::MAX, lost_after: Duration::MAX, ..Policy::default() };
    assert_eq!(judge_one(pod, &never).0, PodVerdict::Alive { without_beat: false });
}

#[rstest]
#[case::recently(24, PodVerdict::Alive { without_beat: true })]
#[case::earlier(25, LOST(LostReason::NodeGone))]
fn p2_an_agent_that_sees_the_worker_outweighs_a_deleted_node(#[case] seen: u64, #[case] expected: PodVerdict) {
    let pod = with(|pod| {
        pod.beat = LastBeat::Running { last: ago(500) };
        pod.agent = AgentObservation::Alive { last: ago(seen) };
        node(pod).state = NodeState::Deleted { since: ago(60) };
    });
    assert_eq!(verdict_of(pod), expected);
}

#[rstest]
#[case("ErrImagePull", LostReason::ImagePullFailed)]
#[case("ImagePullBackOff", LostReason::ImagePullFailed)]
#[case("InvalidImageName", LostReason::ImagePullFailed)]
#[case("ErrImageNeverPull", LostReason::ImagePullFailed)]
#[case("CreateContainerConfigError", LostReason::CreateFailed)]
#[case("CreateContainerError", LostReason::CreateFailed)]
#[case("RunContainerError", LostReason::CreateFailed)]
#[case("ContainerCreating", LostReason::StartTimeout)]
fn p3_a_container_that_does_not_start_loses_the_pod_whatever_the_beat(
    #[case] kubelet: &str,
    #[case] reason: LostReason,
) {
    assert_eq!(verdict_of(waiting(kubelet, false)), LOST(reason));
}

#[test]
fn p3_a_start_without_a_reported_problem_times_out_too() {
    let mut pod = waiting("", false);
    pod.start_problem = None;
    assert_eq!(verdict_of(pod), LOST(LostReason::StartTimeout));
}

#[test]
fn p3_a_fault_of_our_sidecar_never_loses_the_pod() {
    assert_eq!(verdict_of(waiting("ImagePullBackOff", true)), PodVerdict::SidecarBlocks);
}

#[rstest]
#[case::in_time(|pod: &mut PodEvidence| pod.starting_since = Some(ago(599)))]
#[case::node_not_ready(|pod: &mut PodEvidence| node(pod).state = NodeState::NotReady)]
#[case::node_silent(|pod: &mut PodEvidence| node(pod).lease_changed = ago(40))]
#[case::terminating(|pod: &mut PodEvidence| pod.terminating = Some(Terminating { since: ago(5), grace: Duration::from_secs(30) }))]
fn p3_does_not_match(#[case] change: fn(&mut PodEvidence)) {
    let mut pod = waiting("ErrImagePull", false);
    change(&mut pod);
    assert_eq!(verdict_of(pod), PodVerdict::Alive { without_beat: false });
}

fn gone(since: u64, reports: u32) -> PodEvidence {
    with(|pod| {
        pod.beat = LastBeat::Running { last: ago(200) };
        pod.agent = AgentObservation::Gone { since: ago(since), reports };
    })
}

#[rstest]
#[case::three_minutes(gone(180, 18), LOST(LostReason::ProcessGone))]
#[case::the_kubelet_may_still_report_the_end(gone(179, 18), PodVerdict::Suspect)]
#[case::one_report(gone(180, 1), PodVerdict::Unseen)]
fn p4_processes_gone_for_three_minutes_on_a_healthy_node_lose_the_pod(
    #[case] pod: PodEvidence,
    #[case] expected: PodVerdict,
) {
    assert_eq!(verdict_of(pod), expected);
}

#[test]
fn p4_gone_processes_outweigh_a_sidecar_that_still_beats() {
    let mut pod = gone(180, 2);
    pod.beat = LastBeat::Running { last: ago(1) };
    assert_eq!(verdict_of(pod), LOST(LostReason::ProcessGone));
}

#[test]
fn p9_leaves_processes_that_are_gone_to_p4() {
    let unseen = Policy { unseen: Unseen::Lost, ..Policy::default() };
    assert_eq!(judge_one(gone(179, 18), &unseen).0, PodVerdict::Suspect);
    assert_eq!(judge_one(gone(180, 18), &unseen).0, LOST(LostReason::ProcessGone));
}

/// A pod that lost its sandbox in a reboot before its worker started: P3 reports it.
#[rstest]
#[case::the_sidecar("jobwarden-heartbeat", PodVerdict::Suspect)]
#[case::the_worker("main", PodVerdict::Unseen)]
fn p9_leaves_a_sidecar_that_the_kubelet_does_not_run_to_p3(#[case] container: &str, #[case] expected: PodVerdict) {
    let mut pod = waiting("Unknown", false);
    pod.starting_since = Some(ago(599));
    pod.start_problem.as_mut().expect("a problem").container = container.to_owned();
    (pod.beat, pod.agent, pod.seen_alive) = (LastBeat::Running { last: ago(120) }, AgentObservation::None, None);
    assert_eq!(verdict_of(pod), expected);
}

#[test]
fn p4_a_container_that_waits_to_be_restarted_is_not_gone() {
    let mut pod = gone(180, 18);
    pod.mains.push(MainContainer { name: "second".to_owned(), state: ContainerState::WaitingToRestart });
    assert_eq!(verdict_of(pod), PodVerdict::Unseen);
}

#[test]
fn p4_a_container_that_the_kubelet_reports_terminated_is_not_gone() {
    let mut pod = gone(180, 18);
    pod.mains[0].state = ContainerState::Terminated;
    assert_eq!(verdict_of(pod), PodVerdict::Unseen);
}

#[rstest]
#[case::beat_ended(|pod: &mut PodEvidence| pod.beat = LastBeat::Ending { last: ago(120) }, LOST(LostReason::OutcomeUnknown))]
#[case::agent_gone(|pod: &mut PodEvidence| pod.agent = AgentObservation::Gone { since: ago(130), reports: 2 }, LOST(LostReason::OutcomeUnknown))]
#[case::agent_gone_once(|pod: &mut PodEvidence| pod.agent = AgentObservation::Gone { since: ago(130), reports: 1 }, LOST(LostReason::NodeUnreachable))]
#[case::neither(|_: &mut PodEvidence| {}, LOST(LostReason::NodeUnreachable))]
fn p5_a_worker_that_ended_before_its_node_went_silent_is_lost(
    #[case] change: fn(&mut PodEvidence),
    #[case] expected: PodVerdict,
) {
    let mut pod = silent_for(120);
    change(&mut pod);
    assert_eq!(verdict_of(pod), expected);
}

#[test]
fn p5_waits_for_lost_after_of_the_lease() {
    let mut pod = silent_for(119);
    pod.beat = LastBeat::Ending { last: ago(119) };
    let (verdict, recheck_at) = judge_one(pod, &Policy::default());
    assert_eq!(verdict, PodVerdict::Waiting);
    assert_eq!(recheck_at, Some(NOW + Duration::from_secs(1)));
}

#[rstest]
#[case(90, PodVerdict::Stuck)]
#[case(89, PodVerdict::Alive { without_beat: false })]
fn p6_a_pod_alive_a_minute_past_its_grace_period_is_stuck(#[case] since: u64, #[case] expected: PodVerdict) {
    let pod = with(|pod| pod.terminating = Some(Terminating { since: ago(since), grace: Duration::from_secs(30) }));
    assert_eq!(verdict_of(pod), expected);
}

#[test]
fn p6_a_pod_that_never_started_and_is_not_removed_is_stuck() {
    let pod = |since| {
        with(|pod| {
            pod.phase = PodPhase::Pending;
            pod.mains[0].state = ContainerState::NotStarted;
            pod.sidecar = Sidecar::NotStarted;
            (pod.beat, pod.agent) = (LastBeat::None, AgentObservation::None);
            pod.terminating = Some(Terminating { since: ago(since), grace: Duration::from_secs(30) });
        })
    };
    assert_eq!(verdict_of(pod(89)), PodVerdict::Waiting);
    assert_eq!(verdict_of(pod(90)), PodVerdict::Stuck);
}

#[test]
fn p7_a_fresh_beat_outweighs_an_unknown_node() {
    let mut pod = silent_for(3000);
    pod.beat = LastBeat::Running { last: ago(29) };
    assert_eq!(verdict_of(pod), PodVerdict::Alive { without_beat: false });
}

#[test]
fn p7_a_live_worker_with_a_dead_sidecar_is_alive() {
    let mut pod = silent_for(3000);
    pod.agent = AgentObservation::Alive { last: ago(29) };
    assert_eq!(verdict_of(pod), PodVerdict::Alive { without_beat: true });
}

#[test]
fn p7_a_sidecar_that_has_just_ended_is_not_at_fault() {
    let pod = with(|pod| pod.beat = LastBeat::Ending { last: ago(5) });
    assert_eq!(verdict_of(pod), PodVerdict::Alive { without_beat: false });
}

#[test]
fn p11_an_unscheduled_pod_waits_indefinitely() {
    let pod = with(|pod| {
        pod.phase = PodPhase::Pending;
        pod.node = None;
        pod.bound_since = None;
        pod.beat = LastBeat::None;
        pod.agent = AgentObservation::None;
    });
    assert_eq!(judge_one(pod, &Policy::default()), (PodVerdict::Waiting, None));
}

#[test]
fn each_pod_of_a_job_is_judged_separately() {
    let evidence = Evidence { job: mk_job(), pods: vec![mk_pod(), silent_for(120)], listening_since: ago(7000) };
    let judgement = judge(&evidence, &Policy::default(), NOW);
    assert_eq!(judgement.job, JobVerdict::Open);
    assert_eq!(judgement.pods[0].verdict, PodVerdict::Alive { without_beat: false });
    assert_eq!(judgement.pods[1].verdict, LOST(LostReason::NodeUnreachable));
}
