//! What becomes of the evidence as a cluster goes through things.

use jobwarden_common::{
    beat::{Command, Phase},
    notification::{Cause, CauseKind},
    observation::Report,
};
use rstest::rstest;

use super::*;
use crate::{
    builders::facts::{mk_job, mk_lease, mk_main, mk_node, mk_pod, mk_report},
    evidence::{
        ContainerState, Evidence, JobIdentity, JobStage, NodeEvidence, NodeState, PodEvidence, PodPhase, Sidecar,
        Terminating,
    },
    facts::{
        job::Deletion,
        node::Health,
        pod::{PodFacts, SidecarFacts, StartPhase},
    },
    snapshot::JobSnapshot,
};

mod bare;
mod breaker;
mod choices;
mod signals;
mod waiting;

fn moment(seconds: u64) -> Moment {
    Moment::at(Duration::from_secs(seconds))
}

/// Leads since 0; Job `job` runs pod `pod` on `node-1`, a ready node whose Lease was renewed at 0.
fn mk_state() -> Index {
    let mut state = Index::default();
    state.apply_node(&mk_node("node-1", Health::Ready), moment(0));
    state.nodes_listed(&["node-1".into()].into(), moment(0));
    state.apply_lease(&mk_lease("node-1", 100), moment(0));
    state.apply_job(mk_job("job"), moment(0));
    state.apply_pod(mk_pod("pod", "job"), moment(0));
    state.pods_listed(&["pod".into()].into(), moment(0));
    state.start_listening(moment(0));
    state.take_changed();
    state
}

/// What people read of a moment, which these tests do not ask for.
fn wall(_: Moment) -> jiff::Timestamp {
    jiff::Timestamp::UNIX_EPOCH
}

fn known(state: &Index, now: u64) -> JobSnapshot {
    state.snapshot(&"job".into(), moment(now), wall).expect("the Job is known")
}

fn evidence(state: &Index) -> Evidence {
    known(state, 0).evidence
}

fn pod(state: &Index) -> PodEvidence {
    evidence(state).pods.into_iter().next().expect("it has a pod")
}

fn node(state: &Index) -> NodeEvidence {
    pod(state).node.expect("it is bound")
}

fn beat(state: &mut Index, phase: Phase, now: u64) -> Result<Command, BeatRejected> {
    state.beat(&"pod".into(), Some(&"node-1".into()), phase, moment(now))
}

fn report(state: &mut Index, report: &Report, now: u64) -> Vec<PodUid> {
    state.report(&"node-1".into(), report, moment(now)).expect("no foreign pod")
}

fn events(state: &Index, now: u64) -> Vec<String> {
    known(state, now).timeline.into_iter().map(|entry| entry.event).collect()
}

fn changed(state: &mut Index) -> bool {
    !state.take_changed().is_empty()
}

#[test]
fn a_running_pod_has_all_evidence() {
    let mut state = mk_state();
    beat(&mut state, Phase::Running, 3).expect("known");
    report(&mut state, &mk_report(&[("pod", 2)]), 4);
    let pod = pod(&state);
    assert_eq!(pod.phase, PodPhase::Running);
    let expected = NodeEvidence {
        name: "node-1".into(),
        zone: None,
        state: NodeState::Ready,
        avoided: false,
        lease_changed: moment(0),
        lease_steady_since: moment(0),
    };
    assert_eq!(pod.node, Some(expected));
    assert_eq!(pod.bound_since, Some(moment(0)));
    assert_eq!(pod.sidecar, Sidecar::Started(moment(0)));
    assert_eq!(pod.beat, LastBeat::Running { last: moment(3) });
    assert_eq!(pod.agent, AgentObservation::Alive { last: moment(4) });
    assert_eq!(evidence(&state).listening_since, moment(0));
}

#[test]
fn a_job_is_known_whether_it_or_its_pod_arrives_first() {
    let mut state = Index::default();
    state.apply_pod(mk_pod("pod", "job"), moment(1));
    assert_eq!(state.snapshot(&"job".into(), moment(1), wall), None);
    assert!(!changed(&mut state));
    state.apply_job(mk_job("job"), moment(2));
    assert_eq!(evidence(&state).pods.len(), 1);
    assert!(events(&state, 2).contains(&"pod pod-name: bound to node node-1".to_owned()));
}

// Stages.

fn finished() -> Progress {
    Progress::Finished(Finish::Complete)
}

fn failing() -> Progress {
    Progress::Failing { reason: "r".to_owned(), message: "m".to_owned() }
}

#[rstest]
#[case::open(Progress::Open, false, false, JobStage::Open)]
#[case::succeeding(Progress::Succeeding, false, false, JobStage::Succeeding)]
#[case::failing(failing(), false, false, JobStage::Failing { reason: "r".to_owned(), message: "m".to_owned() })]
#[case::deleting(Progress::Open, true, false, JobStage::Deleting { orphaning: true })]
#[case::deleting_wins_over_failing(failing(), true, false, JobStage::Deleting { orphaning: true })]
#[case::vanished(Progress::Open, false, true, JobStage::Vanished)]
#[case::vanished_wins_over_deleting(Progress::Succeeding, true, true, JobStage::Vanished)]
#[case::finished_wins_over_all(finished(), true, true, JobStage::Finished { since: moment(5), finish: Finish::Complete })]
fn the_first_stage_that_applies_counts(
    #[case] progress: Progress,
    #[case] deleting: bool,
    #[case] gone: bool,
    #[case] expected: JobStage,
) {
    let mut state = mk_state();
    let deletion = deleting.then_some(Deletion { orphaning: true });
    state.apply_job(JobFacts { progress, deletion, ..mk_job("job") }, moment(5));
    if gone {
        state.delete_job(&"job".into(), moment(6));
    }
    assert_eq!(evidence(&state).job.stage, expected);
}

#[test]
fn a_job_has_finished_since_that_was_first_seen() {
    let mut state = mk_state();
    state.apply_job(JobFacts { progress: finished(), ..mk_job("job") }, moment(5));
    state.apply_job(JobFacts { progress: finished(), has_finalizer: false, ..mk_job("job") }, moment(9));
    assert_eq!(evidence(&state).job.stage, JobStage::Finished { since: moment(5), finish: Finish::Complete });
}

// Coming and going.

#[test]
fn a_job_missing_from_a_list_has_vanished_and_stays_known_until_forgotten() {
    let mut state = mk_state();
    state.jobs_listed(&HashSet::new(), moment(5));
    assert!(changed(&mut state));
    assert_eq!(evidence(&state).job.stage, JobStage::Vanished);
    assert!(state.is_gone(&"job".into()));
    state.forget_job(&"job".into());
    assert_eq!(state.snapshot(&"job".into(), moment(6), wall), None);
    assert_eq!(state.jobs(), 0);
    // Its pod still terminates, and its sidecar still beats.
    assert_eq!(beat(&mut state, Phase::Ending, 6), Ok(Command::Continue));
    state.delete_pod(&"pod".into(), moment(7));
    assert!(state.jobs.is_empty() && state.pods.is_empty());
}

#[test]
fn a_job_that_is_listed_stays() {
    let mut state = mk_state();
    state.jobs_listed(&["job".into()].into(), moment(5));
    assert_eq!(evidence(&state).job.stage, JobStage::Open);
}

#[test]
fn a_pod_missing_from_a_list_is_gone() {
    let mut state = mk_state();
    state.pods_listed(&HashSet::new(), moment(5));
    assert!(evidence(&state).pods.is_empty());
    assert_eq!(beat(&mut state, Phase::Running, 6), Err(BeatRejected::UnknownPod));
}

#[test]
fn equal_facts_change_nothing() {
    let mut state = mk_state();
    state.apply_job(mk_job("job"), moment(5));
    state.apply_pod(mk_pod("pod", "job"), moment(5));
    state.apply_node(&mk_node("node-1", Health::Ready), moment(5));
    assert!(!state.has_changed());
}

#[test]
fn objects_that_are_gone_leave_nothing_behind() {
    let mut state = mk_state();
    state.delete_pod(&"pod".into(), moment(1));
    state.delete_job(&"job".into(), moment(2));
    state.forget_job(&"job".into());
    state.delete_node(&"node-1".into(), moment(3));
    assert_eq!((state.jobs.len(), state.pods.len(), state.nodes.len()), (0, 0, 0));
}

// A standby.

#[test]
fn a_new_leader_finishes_jobs_that_went_just_before_and_not_those_that_went_long_ago() {
    let mut state = mk_state();
    state.stop_listening(moment(10));
    state.apply_job(mk_job("old"), moment(10));
    state.delete_job(&"old".into(), moment(20));
    state.delete_job(&"job".into(), moment(500));
    assert_eq!(state.snapshot(&"old".into(), moment(500), wall), None);
    state.start_listening(moment(510));
    assert_eq!(evidence(&state).job.stage, JobStage::Vanished);
    assert_eq!(state.jobs(), 1);
}

#[test]
fn a_leader_keeps_a_gone_job_until_it_is_forgotten() {
    let mut state = mk_state();
    state.delete_job(&"job".into(), moment(10));
    state.apply_job(mk_job("other"), moment(10));
    state.delete_job(&"other".into(), moment(10_000));
    assert_eq!(evidence(&state).job.stage, JobStage::Vanished);
}

#[test]
fn a_new_term_forgets_the_signals_of_the_earlier_one() {
    let mut state = mk_state();
    beat(&mut state, Phase::Running, 1).expect("known");
    report(&mut state, &mk_report(&[("pod", 1)]), 1);
    state.stop_listening(moment(2));
    state.start_listening(moment(50));
    assert!(changed(&mut state));
    let pod = pod(&state);
    assert_eq!((pod.beat, pod.agent), (LastBeat::None, AgentObservation::None));
    // A Lease that did not change since is counted from the start of listening.
    assert_eq!(node(&state).lease_changed, moment(50));
    assert_eq!(evidence(&state).listening_since, moment(50));
}

// Pods.

#[test]
fn states_of_a_pod_count_from_when_they_were_first_seen() {
    let mut state = mk_state();
    let dying = |message: &str| PodFacts {
        grace: Some(Duration::from_secs(30)),
        start: StartPhase::Starting,
        name: message.to_owned(),
        ..mk_pod("pod", "job")
    };
    state.apply_pod(dying("first"), moment(5));
    state.apply_pod(dying("second"), moment(9));
    let seen = pod(&state);
    assert_eq!(seen.terminating, Some(Terminating { since: moment(5), grace: Duration::from_secs(30) }));
    assert_eq!(seen.starting_since, Some(moment(5)));
    // What stops holds no more, and begins anew.
    state.apply_pod(mk_pod("pod", "job"), moment(10));
    assert_eq!(pod(&state).starting_since, None);
    state.apply_pod(dying("third"), moment(11));
    assert_eq!(pod(&state).starting_since, Some(moment(11)));
}

#[rstest]
#[case(SidecarFacts::Absent, Sidecar::Absent)]
#[case(SidecarFacts::NotStarted, Sidecar::NotStarted)]
#[case(SidecarFacts::Started, Sidecar::Started(moment(0)))]
fn the_sidecar_is_as_the_kubelet_reports(#[case] sidecar: SidecarFacts, #[case] expected: Sidecar) {
    let mut state = mk_state();
    state.apply_pod(PodFacts { sidecar, ..mk_pod("pod", "job") }, moment(5));
    assert_eq!(pod(&state).sidecar, expected);
}

#[test]
fn an_open_job_is_podless_from_its_last_live_pods_end() {
    let mut state = mk_state();
    assert_eq!(evidence(&state).job.podless_since, None);
    state.apply_pod(PodFacts { phase: PodPhase::Succeeded, ..mk_pod("pod", "job") }, moment(5));
    assert_eq!(evidence(&state).job.podless_since, Some(moment(5)));
    state.delete_pod(&"pod".into(), moment(6));
    assert_eq!(evidence(&state).job.podless_since, Some(moment(5)));
    state.apply_pod(mk_pod("second", "job"), moment(7));
    assert_eq!(evidence(&state).job.podless_since, None);
}

#[rstest]
#[case::suspended(JobFacts { suspended: true, ..mk_job("job") })]
#[case::finished(JobFacts { progress: finished(), ..mk_job("job") })]
#[case::wants_none(JobFacts { wanted_pods: 0, ..mk_job("job") })]
fn a_job_that_needs_no_pods_is_not_podless(#[case] facts: JobFacts) {
    let mut state = Index::default();
    state.apply_job(facts, moment(5));
    assert_eq!(evidence(&state).job.podless_since, None);
    // Resumed: the time starts now.
    state.apply_job(mk_job("job"), moment(9));
    assert_eq!(evidence(&state).job.podless_since, Some(moment(9)));
}

// Nodes.

#[test]
fn a_deleted_node_is_gone_since_then_and_may_return() {
    let mut state = mk_state();
    state.delete_node(&"node-1".into(), moment(5));
    assert!(changed(&mut state));
    state.delete_node(&"node-1".into(), moment(9));
    assert_eq!(node(&state).state, NodeState::Deleted { since: moment(5) });
    state.apply_node(&mk_node("node-1", Health::NotReady), moment(10));
    assert_eq!(node(&state).state, NodeState::NotReady);
}

#[test]
fn a_node_missing_from_a_list_is_deleted() {
    let mut state = mk_state();
    state.nodes_listed(&HashSet::new(), moment(5));
    assert_eq!(node(&state).state, NodeState::Deleted { since: moment(5) });
}

#[test]
fn a_node_that_never_existed_counts_as_deleted_once_nodes_are_listed() {
    let mut state = Index::default();
    state.apply_job(mk_job("job"), moment(1));
    state.apply_pod(mk_pod("pod", "job"), moment(1));
    assert_eq!(node(&state).state, NodeState::NotReady);
    state.nodes_listed(&HashSet::new(), moment(2));
    assert_eq!(node(&state).state, NodeState::Deleted { since: moment(2) });
    let elsewhere = PodFacts { node: Some("node-2".into()), ..mk_pod("other", "job") };
    state.apply_pod(elsewhere, moment(3));
    let states: Vec<_> = evidence(&state).pods.into_iter().filter_map(|pod| pod.node.map(|node| node.state)).collect();
    assert_eq!(states[1], NodeState::Deleted { since: moment(3) });
}

#[test]
fn out_of_service_is_since_it_was_first_seen() {
    let mut state = mk_state();
    let off = mk_node("node-1", Health::OutOfService);
    state.apply_node(&off, moment(5));
    state.apply_node(&off, moment(9));
    assert_eq!(node(&state).state, NodeState::OutOfService { since: moment(5) });
}

#[test]
fn only_a_renewal_changes_a_lease() {
    let mut state = mk_state();
    state.apply_lease(&mk_lease("node-1", 110), moment(10));
    state.apply_lease(&mk_lease("node-1", 110), moment(30));
    assert_eq!(node(&state).lease_changed, moment(10));
    assert!(!changed(&mut state));
    // After a silence, a renewal may change a verdict.
    state.apply_lease(&mk_lease("node-1", 130), moment(30));
    assert!(changed(&mut state));
    assert_eq!(node(&state).lease_steady_since, moment(0));
    // After a pause in which the Lease may have been stale, its renewals count from the first.
    state.apply_lease(&mk_lease("node-1", 155), moment(55));
    state.apply_lease(&mk_lease("node-1", 165), moment(65));
    assert_eq!(node(&state).lease_steady_since, moment(55));
}

// Timeline.

#[test]
fn the_timeline_has_the_deletion_of_a_node() {
    let mut state = mk_state();
    beat(&mut state, Phase::Running, 1).expect("known");
    report(&mut state, &mk_report(&[("pod", 1)]), 2);
    beat(&mut state, Phase::Running, 10).expect("known");
    state.apply_node(&mk_node("node-1", Health::NotReady), moment(50));
    state.apply_job(JobFacts { progress: failing(), ..mk_job("job") }, moment(60));
    let expected = [
        "the Job was first seen",
        "pod pod-name: bound to node node-1",
        "pod pod-name: container main started",
        "node node-1: Lease last renewed",
        "pod pod-name: first beat",
        "pod pod-name: the agent sees its processes",
        "pod pod-name: last beat",
        "node node-1: became NotReady",
        "the Job is being failed (FailureTarget): r",
    ];
    assert_eq!(events(&state, 60), expected);
}

#[test]
fn work_that_was_seen_done_stays_done_when_its_pod_is_deleted() {
    let mut state = mk_state();
    state.apply_pod(PodFacts { work_done: true, ..mk_pod("pod", "job") }, moment(5));
    // By its clock the node ended the container in the second in which the pod was deleted.
    let grace = Some(Duration::from_secs(30));
    state.apply_pod(PodFacts { grace, phase: PodPhase::Succeeded, ..mk_pod("pod", "job") }, moment(6));
    assert!(pod(&state).work_done);
    state.delete_pod(&"pod".into(), moment(7));
    assert!(known(&state, 7).past.is_some_and(|past| past.work_done));
}

#[test]
fn the_end_of_a_deleted_pod_does_not_change_with_its_deletion_timestamp() {
    let mut state = mk_state();
    let of_kind = |kind| Some(Box::new(Cause { kind: Some(kind), ..Cause::default() }));
    let grace = Some(Duration::from_secs(30));
    let ended = PodFacts { grace, phase: PodPhase::Failed, ..mk_pod("pod", "job") };
    state.apply_pod(PodFacts { cause: of_kind(CauseKind::Deleted), ..ended.clone() }, moment(5));
    // By the timestamp that the kubelet's deletion has moved, the container ended before the pod was deleted.
    let moved = PodFacts { grace: Some(Duration::ZERO), work_done: true, ..ended };
    state.apply_pod(PodFacts { cause: of_kind(CauseKind::Signal), ..moved }, moment(6));
    assert_eq!((pod(&state).cause.kind, pod(&state).work_done), (Some(CauseKind::Deleted), false));
    state.delete_pod(&"pod".into(), moment(7));
    let past = known(&state, 7).past.expect("the Job keeps it");
    assert_eq!((past.cause.kind, past.work_done), (Some(CauseKind::Deleted), false));
}

#[test]
fn a_pod_that_is_deleted_after_it_failed_keeps_its_own_cause() {
    let mut state = mk_state();
    let cause = Some(Box::new(Cause { kind: Some(CauseKind::Signal), ..Cause::default() }));
    let failed = PodFacts { phase: PodPhase::Failed, cause, ..mk_pod("pod", "job") };
    state.apply_pod(PodFacts { cause: None, ..failed.clone() }, moment(5));
    state.apply_pod(PodFacts { grace: Some(Duration::ZERO), ..failed }, moment(6));
    assert_eq!(pod(&state).cause.kind, Some(CauseKind::Signal));
}

#[test]
fn ids_are_those_that_the_job_had_when_it_was_first_seen() {
    let mut state = mk_state();
    let facts = mk_job("job");
    let forged = JobIdentity {
        run_id: Some("42".into()),
        job_id: Some("8".into()),
        trace_id: Some("0af7".to_owned()),
        ..facts.identity.clone()
    };
    state.apply_job(JobFacts { identity: forged, suspended: true, ..facts.clone() }, moment(5));
    let evidence = state.evidence(&"job".into()).expect("it is known").0;
    assert_eq!(evidence.job.identity, facts.identity);
    assert!(evidence.job.suspended, "everything else is taken");
}
