//! Every row of the table, each from evidence that differs from a healthy pod in what the row is about.

use std::time::Duration;

use jobwarden_common::notification::Cause;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::evidence::{
    AgentWord, Beats, ContainerState, Finish, JobIdentity, MainContainer, NodeEvidence, NodeState, Retries, Sidecar,
    StartProblem, Terminating,
};

/// All tests judge at this moment, so that everything before it can be put in terms of "ago".
const NOW: Moment = Moment::at(Duration::from_hours(2));

fn ago(seconds: u64) -> Moment {
    Moment::at(Duration::from_hours(2).saturating_sub(Duration::from_secs(seconds)))
}

fn mk_job() -> JobEvidence {
    JobEvidence {
        identity: JobIdentity {
            uid: "job".into(),
            namespace: "default".to_owned(),
            name: "work".to_owned(),
            run_id: Some("1".into()),
            job_id: Some("7".into()),
            trace_id: None,
        },
        stage: JobStage::Open,
        suspended: false,
        managed_elsewhere: false,
        podless_since: None,
        retries: Retries::Left,
        has_finalizer: true,
        owned: false,
        has_ttl: false,
        safe_to_duplicate: false,
        started: true,
    }
}

/// A pod that runs on a ready node, heard 5 s ago by beat and agent.
fn mk_pod() -> PodEvidence {
    PodEvidence {
        uid: "pod".into(),
        name: "work-x".to_owned(),
        phase: PodPhase::Running,
        node: Some(NodeEvidence { name: "node-1".into(), state: NodeState::Ready, lease_changed: ago(5) }),
        bound_since: Some(ago(3600)),
        terminating: None,
        mains: vec![MainContainer { name: "main".to_owned(), state: ContainerState::Running }],
        starting_since: None,
        start_problem: None,
        sidecar: Sidecar::Started(ago(3590)),
        beat: Beats::Running { last: ago(5) },
        agent: AgentWord::Alive { last: ago(5) },
        cause: Cause::default(),
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
    (judgement.pods[0].1, judgement.next_look)
}

fn verdict_of(pod: PodEvidence) -> PodVerdict {
    judge_one(pod, &Policy::default()).0
}

/// The node was cut off `seconds` ago: nothing has been heard of it or its pods since.
fn silent_for(seconds: u64) -> PodEvidence {
    with(|pod| {
        pod.beat = Beats::Running { last: ago(seconds) };
        pod.agent = AgentWord::Alive { last: ago(seconds) };
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

mod of_jobs {
    use super::*;

    fn judge_job_of(change: impl FnOnce(&mut JobEvidence)) -> JobVerdict {
        let mut job = mk_job();
        change(&mut job);
        judge(&Evidence { job, pods: vec![], listening_since: ago(7000) }, &Policy::default(), NOW).job
    }

    #[test]
    fn j1_a_complete_or_failed_job_is_finished_even_while_it_is_deleted() {
        let failed = Finish::Failed { reason: "BackoffLimitExceeded".to_owned(), message: String::new() };
        for finish in [Finish::Complete, failed] {
            let verdict = judge_job_of(|job| job.stage = JobStage::Finished { since: ago(1), finish });
            assert_eq!(verdict, JobVerdict::Finished);
        }
    }

    #[rstest]
    #[case(JobStage::Vanished)]
    #[case(JobStage::Deleting { orphaning: false })]
    #[case(JobStage::Deleting { orphaning: true })]
    fn j2_a_job_that_goes_before_it_finished_is_deleted(#[case] stage: JobStage) {
        assert_eq!(judge_job_of(|job| job.stage = stage), JobVerdict::Deleted);
    }

    #[test]
    fn j3_another_controllers_job_is_ignored_unless_it_is_over() {
        assert_eq!(judge_job_of(|job| job.managed_elsewhere = true), JobVerdict::Ignored);
        let gone = judge_job_of(|job| {
            job.managed_elsewhere = true;
            job.stage = JobStage::Vanished;
        });
        assert_eq!(gone, JobVerdict::Deleted);
    }

    #[rstest]
    #[case(JobStage::Failing { reason: "NodeUnreachable".to_owned(), message: String::new() })]
    #[case(JobStage::Succeeding)]
    fn j4_a_job_that_its_controller_ends_is_ending_even_if_suspended(#[case] stage: JobStage) {
        let verdict = judge_job_of(|job| {
            job.stage = stage;
            job.suspended = true;
        });
        assert_eq!(verdict, JobVerdict::Ending);
    }

    #[test]
    fn j5_a_suspended_job_is_paused_however_long_it_has_no_pod() {
        let verdict = judge_job_of(|job| {
            job.suspended = true;
            job.podless_since = Some(ago(7000));
        });
        assert_eq!(verdict, JobVerdict::Paused);
    }

    #[rstest]
    #[case(600, JobVerdict::NotStarting)]
    #[case(599, JobVerdict::Open)]
    fn j6_an_open_job_without_a_pod_is_not_starting_after_start_timeout(
        #[case] podless: u64,
        #[case] expected: JobVerdict,
    ) {
        assert_eq!(judge_job_of(|job| job.podless_since = Some(ago(podless))), expected);
    }
}

#[test]
fn p1_an_ended_pod_is_left_to_kubernetes_whatever_else_is_known() {
    let ended = |phase| {
        let mut pod = silent_for(3000);
        pod.phase = phase;
        pod
    };
    assert_eq!(verdict_of(ended(PodPhase::Succeeded)), PodVerdict::Finishing);
    assert_eq!(verdict_of(ended(PodPhase::Failed)), PodVerdict::AttemptFailed);
}

#[rstest]
#[case::deleted(NodeState::Deleted { since: ago(10) }, 31, LOST(LostReason::NodeGone))]
#[case::out_of_service(NodeState::OutOfService { since: ago(10) }, 31, LOST(LostReason::NodeGone))]
#[case::too_soon(NodeState::Deleted { since: ago(9) }, 31, PodVerdict::Suspect)]
#[case::beat_fresh(NodeState::Deleted { since: ago(60) }, 29, PodVerdict::Alive { without_beat: false })]
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
fn p2_an_agent_that_sees_the_worker_outweighs_a_deleted_node() {
    let pod = with(|pod| {
        pod.beat = Beats::Running { last: ago(500) };
        node(pod).state = NodeState::Deleted { since: ago(60) };
    });
    assert_eq!(verdict_of(pod), PodVerdict::Alive { without_beat: true });
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
fn p3_a_start_that_nobody_explains_times_out_too() {
    let mut pod = waiting("", false);
    pod.start_problem = None;
    assert_eq!(verdict_of(pod), LOST(LostReason::StartTimeout));
}

#[test]
fn p3_a_job_is_never_lost_for_our_own_sidecars_fault() {
    assert_eq!(verdict_of(waiting("ImagePullBackOff", true)), PodVerdict::SidecarBlocks);
}

#[rstest]
#[case::in_time(|pod: &mut PodEvidence| pod.starting_since = Some(ago(599)))]
#[case::node_not_ready(|pod: &mut PodEvidence| node(pod).state = NodeState::NotReady)]
#[case::terminating(|pod: &mut PodEvidence| pod.terminating = Some(Terminating { since: ago(5), grace: Duration::from_secs(30) }))]
fn p3_does_not_hold(#[case] change: fn(&mut PodEvidence)) {
    let mut pod = waiting("ErrImagePull", false);
    change(&mut pod);
    assert_eq!(verdict_of(pod), PodVerdict::Alive { without_beat: false });
}

fn gone(since: u64, reports: u32) -> PodEvidence {
    with(|pod| {
        pod.beat = Beats::Running { last: ago(200) };
        pod.agent = AgentWord::Gone { since: ago(since), reports };
    })
}

#[rstest]
#[case::a_minute(gone(60, 6), LOST(LostReason::ProcessGone))]
#[case::not_yet_a_minute(gone(59, 6), PodVerdict::Unseen)]
#[case::one_report(gone(60, 1), PodVerdict::Unseen)]
fn p4_processes_gone_for_a_minute_on_a_node_that_is_well(#[case] pod: PodEvidence, #[case] expected: PodVerdict) {
    assert_eq!(verdict_of(pod), expected);
}

#[test]
fn p4_gone_processes_outweigh_a_sidecar_that_goes_on_beating() {
    let mut pod = gone(60, 2);
    pod.beat = Beats::Running { last: ago(1) };
    assert_eq!(verdict_of(pod), LOST(LostReason::ProcessGone));
}

#[test]
fn p4_a_container_that_waits_to_be_restarted_is_not_gone() {
    let mut pod = gone(60, 6);
    pod.mains.push(MainContainer { name: "second".to_owned(), state: ContainerState::WaitingToRestart });
    assert_eq!(verdict_of(pod), PodVerdict::Unseen);
}

#[test]
fn p4_a_container_the_kubelet_has_seen_end_is_not_gone_unnoticed() {
    let mut pod = gone(60, 6);
    pod.mains[0].state = ContainerState::Terminated;
    assert_eq!(verdict_of(pod), PodVerdict::Unseen);
}

#[rstest]
#[case::beat_ended(|pod: &mut PodEvidence| pod.beat = Beats::Ending { last: ago(120) }, LOST(LostReason::OutcomeUnknown))]
#[case::agent_gone(|pod: &mut PodEvidence| pod.agent = AgentWord::Gone { since: ago(130), reports: 2 }, LOST(LostReason::OutcomeUnknown))]
#[case::agent_gone_once(|pod: &mut PodEvidence| pod.agent = AgentWord::Gone { since: ago(130), reports: 1 }, LOST(LostReason::NodeUnreachable))]
#[case::neither(|_: &mut PodEvidence| {}, LOST(LostReason::NodeUnreachable))]
fn p5_a_worker_that_ended_before_its_node_fell_silent(
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
    pod.beat = Beats::Ending { last: ago(119) };
    let (verdict, next_look) = judge_one(pod, &Policy::default());
    assert_eq!(verdict, PodVerdict::Waiting);
    assert_eq!(next_look, Some(NOW + Duration::from_secs(1)));
}

#[rstest]
#[case(90, PodVerdict::Stuck)]
#[case(89, PodVerdict::Alive { without_beat: false })]
fn p6_a_pod_that_lives_a_minute_past_its_grace_is_stuck(#[case] since: u64, #[case] expected: PodVerdict) {
    let pod = with(|pod| pod.terminating = Some(Terminating { since: ago(since), grace: Duration::from_secs(30) }));
    assert_eq!(verdict_of(pod), expected);
}

#[test]
fn p7_a_fresh_beat_outweighs_an_unknown_node() {
    let mut pod = silent_for(3000);
    pod.beat = Beats::Running { last: ago(29) };
    assert_eq!(verdict_of(pod), PodVerdict::Alive { without_beat: false });
}

#[test]
fn p7_a_live_worker_with_a_dead_sidecar_is_alive() {
    let mut pod = silent_for(3000);
    pod.agent = AgentWord::Alive { last: ago(29) };
    assert_eq!(verdict_of(pod), PodVerdict::Alive { without_beat: true });
}

#[test]
fn p7_a_sidecar_that_has_just_ended_is_not_at_fault() {
    let pod = with(|pod| pod.beat = Beats::Ending { last: ago(5) });
    assert_eq!(verdict_of(pod), PodVerdict::Alive { without_beat: false });
}

#[rstest]
#[case::expired(|_: &mut PodEvidence| {}, LOST(LostReason::NodeUnreachable))]
#[case::never(|pod: &mut PodEvidence| pod.beat = Beats::None, LOST(LostReason::NodeUnreachable))]
#[case::blind(|pod: &mut PodEvidence| pod.agent = AgentWord::Blind { last: ago(1) }, LOST(LostReason::NodeUnreachable))]
#[case::never_bound_long(|pod: &mut PodEvidence| {
    pod.beat = Beats::None;
    pod.sidecar = Sidecar::NotStarted;
}, LOST(LostReason::NodeUnreachable))]
#[case::late_only(|pod: &mut PodEvidence| pod.beat = Beats::Running { last: ago(119) }, PodVerdict::Suspect)]
#[case::sidecar_just_started(|pod: &mut PodEvidence| {
    pod.beat = Beats::None;
    pod.sidecar = Sidecar::Started(ago(119));
}, PodVerdict::Waiting)]
#[case::lease_fresh(|pod: &mut PodEvidence| node(pod).lease_changed = ago(39), PodVerdict::Unseen)]
fn p8_silence_of_sidecar_agent_and_kubelet(#[case] change: fn(&mut PodEvidence), #[case] expected: PodVerdict) {
    let mut pod = silent_for(120);
    change(&mut pod);
    assert_eq!(verdict_of(pod), expected);
}

#[test]
fn p8_counts_a_beat_never_heard_from_the_leaders_start() {
    let mut pod = silent_for(120);
    pod.beat = Beats::None;
    let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(119) };
    assert_eq!(judge(&evidence, &Policy::default(), NOW).pods[0].1, PodVerdict::Waiting);
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
fn p9_an_unseen_pod_on_a_well_node_is_lost_only_by_choice(#[case] unseen: Unseen, #[case] expected: PodVerdict) {
    let mut pod = silent_for(120);
    node(&mut pod).lease_changed = ago(5);
    assert_eq!(judge_one(pod, &Policy { unseen, ..Policy::default() }).0, expected);
}

#[test]
fn p9_a_pod_that_waits_for_its_images_is_not_unseen() {
    let mut pod = waiting("ContainerCreating", false);
    pod.starting_since = Some(ago(300));
    pod.bound_since = Some(ago(300));
    pod.sidecar = Sidecar::NotStarted;
    pod.beat = Beats::None;
    pod.agent = AgentWord::None;
    assert_eq!(verdict_of(pod), PodVerdict::Waiting);
}

#[rstest]
#[case(30, PodVerdict::Suspect)]
#[case(29, PodVerdict::Alive { without_beat: false })]
fn p10_a_late_beat_is_suspect(#[case] last: u64, #[case] expected: PodVerdict) {
    let pod = with(|pod| {
        pod.beat = Beats::Running { last: ago(last) };
        pod.agent = AgentWord::None;
    });
    assert_eq!(verdict_of(pod), expected);
}

#[test]
fn p11_an_unscheduled_pod_waits_for_ever() {
    let pod = with(|pod| {
        pod.phase = PodPhase::Pending;
        pod.node = None;
        pod.bound_since = None;
        pod.beat = Beats::None;
        pod.agent = AgentWord::None;
    });
    assert_eq!(judge_one(pod, &Policy::default()), (PodVerdict::Waiting, None));
}

#[test]
fn each_pod_of_a_job_is_judged_by_itself() {
    let evidence = Evidence { job: mk_job(), pods: vec![mk_pod(), silent_for(120)], listening_since: ago(7000) };
    let judgement = judge(&evidence, &Policy::default(), NOW);
    assert_eq!(judgement.job, JobVerdict::Open);
    assert_eq!(judgement.pods[0].1, PodVerdict::Alive { without_beat: false });
    assert_eq!(judgement.pods[1].1, LOST(LostReason::NodeUnreachable));
}

fn any_ago() -> impl Strategy<Value = Moment> {
    prop_oneof![0..60u64, 0..7000u64].prop_map(ago)
}

prop_compose! {
    fn any_pod()(
        phase in prop_oneof![Just(PodPhase::Pending), Just(PodPhase::Running)],
        beat in prop_oneof![
            Just(Beats::None),
            any_ago().prop_map(|last| Beats::Running { last }),
            any_ago().prop_map(|last| Beats::Ending { last }),
        ],
        agent in prop_oneof![
            Just(AgentWord::None),
            any_ago().prop_map(|last| AgentWord::Blind { last }),
            any_ago().prop_map(|last| AgentWord::Alive { last }),
            (any_ago(), 1..4u32).prop_map(|(since, reports)| AgentWord::Gone { since, reports }),
        ],
        state in prop_oneof![
            Just(NodeState::Ready),
            Just(NodeState::NotReady),
            any_ago().prop_map(|since| NodeState::Deleted { since }),
            any_ago().prop_map(|since| NodeState::OutOfService { since }),
        ],
        lease_changed in any_ago(),
        bound in any_ago(),
        starting in proptest::option::of(any_ago()),
        terminating in proptest::option::of(any_ago()),
        sidecar in prop_oneof![Just(Sidecar::Absent), Just(Sidecar::NotStarted), any_ago().prop_map(Sidecar::Started)],
    ) -> PodEvidence {
        with(|pod| {
            pod.phase = phase;
            pod.beat = beat;
            pod.agent = agent;
            pod.bound_since = Some(bound);
            pod.starting_since = starting;
            pod.terminating = terminating.map(|since| Terminating { since, grace: Duration::from_secs(30) });
            pod.sidecar = sidecar;
            node(pod).state = state;
            node(pod).lease_changed = lease_changed;
        })
    }
}

proptest! {
    /// The first law: whoever can be seen to be alive is never touched. P3 is apart, for it is about a worker that has
    /// not started, and P4 about one whose sidecar outlives it.
    #[test]
    fn a_heard_worker_that_has_started_is_never_lost(mut pod in any_pod(), by_beat: bool, last in 0..30u64) {
        pod.starting_since = None;
        if by_beat {
            pod.beat = Beats::Running { last: ago(last) };
            prop_assume!(!matches!(pod.agent, AgentWord::Gone { .. }));
        } else {
            pod.agent = AgentWord::Alive { last: ago(last) };
        }
        prop_assert_eq!(verdict_of(pod).lost(), None);
    }

    /// No pod waits for ever on a dead node, whatever was known of it before.
    #[test]
    fn every_bound_pod_on_a_silent_node_is_lost_in_the_end(mut pod in any_pod()) {
        let later = Moment::at(Duration::from_hours(4));
        node(&mut pod).state = NodeState::NotReady;
        let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(7000) };
        let verdict = judge(&evidence, &Policy::default(), later).pods[0].1;
        prop_assert!(verdict.lost().is_some(), "{verdict:?}");
    }

    /// The timer's law: before `next_look` the verdict stays as it is.
    #[test]
    fn a_verdict_holds_until_the_next_look(pod in any_pod(), wait_ms in 0..20_000_000u64) {
        let evidence = Evidence { job: mk_job(), pods: vec![pod], listening_since: ago(7000) };
        let first = judge(&evidence, &Policy::default(), NOW);
        let later = NOW + Duration::from_millis(wait_ms);
        prop_assume!(first.next_look.is_none_or(|next| later < next));
        prop_assert_eq!(judge(&evidence, &Policy::default(), later), first);
    }
}
