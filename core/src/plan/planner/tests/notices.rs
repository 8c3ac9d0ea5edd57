//! Events: each is recorded once for every time that it becomes true.

use super::*;
use crate::{
    evidence::{ExitedContainer, MainContainer},
    policy::OnContainerExit,
};

/// The reasons of the Events recorded in each of these evaluations: a pod, and the guard that holds its loss.
fn notified(evaluations: &[(PodEvidence, Option<Hold>)]) -> Vec<Vec<String>> {
    let mut recorded = Recorded::default();
    let evaluate = |(pod, hold): &(PodEvidence, Option<Hold>)| {
        let snapshot = mk_snapshot(retrying(Retries::Left), vec![pod.clone()]);
        let mut notified = Vec::new();
        for step in plan(&snapshot, &judged(&snapshot), &held_by(*hold), &recorded, at(NOW)) {
            match step {
                Step::RecordEvent(notice) => {
                    recorded.notified.insert(notice.key());
                    notified.push(notice.reason.to_owned());
                }
                Step::ClearNotice(key) => {
                    recorded.notified.remove(&key);
                }
                _ => {}
            }
        }
        notified
    };
    evaluations.iter().map(evaluate).collect()
}

fn healthy() -> (PodEvidence, Option<Hold>) {
    (mk_pod("w"), None)
}

fn late() -> (PodEvidence, Option<Hold>) {
    (PodEvidence { beat: LastBeat::Running { last: at(NOW - 40) }, agent: AgentObservation::None, ..mk_pod("w") }, None)
}

fn unseen() -> (PodEvidence, Option<Hold>) {
    (PodEvidence { beat: LastBeat::Running { last: at(1) }, agent: AgentObservation::None, ..mk_pod("w") }, None)
}

fn held() -> (PodEvidence, Option<Hold>) {
    (unreachable("w", 100), Some(Hold::SelfBeat))
}

#[test]
fn every_late_beat_and_its_recovery_are_events() {
    let evaluations = [late(), late(), healthy(), healthy(), late(), healthy()];
    let expected: [&[&str]; 6] = [&["Suspect"], &[], &["HeartbeatResumed"], &[], &["Suspect"], &["HeartbeatResumed"]];
    assert_eq!(notified(&evaluations), expected);
}

#[test]
fn a_held_loss_and_its_end_are_events() {
    let evaluations = [held(), held(), healthy(), held(), (unreachable("w", 100), None)];
    let expected: [&[&str]; 5] = [&["Held"], &[], &["HeartbeatResumed"], &["Held"], &["NodeUnreachable"]];
    assert_eq!(notified(&evaluations), expected);
}

#[test]
fn a_pod_that_was_never_suspected_has_no_event_that_signals_resumed() {
    assert_eq!(notified(&[healthy(), healthy()]), [Vec::<String>::new(), Vec::new()]);
}

#[test]
fn after_a_clock_was_set_back_what_was_reported_about_a_pod_is_not_over() {
    let mut recorded = Recorded { judged_until: at(NOW + 3), ..Recorded::default() };
    recorded.notified.insert((Some("w-uid".into()), reason::SUSPECT));
    let snapshot = mk_snapshot(open(), vec![mk_pod("w")]);
    assert!(steps(&snapshot, &recorded).is_empty());
    recorded.judged_until = at(NOW);
    assert_eq!(brief(&steps(&snapshot, &recorded)), ["notify HeartbeatResumed", "clear Suspect"]);
}

#[test]
fn the_event_about_an_unseen_worker_gives_advice() {
    for (beat, advice) in [(LastBeat::None, "may block egress"), (LastBeat::Running { last: at(1) }, "is new")] {
        let pod = PodEvidence { beat, ..unseen().0 };
        let snapshot = mk_snapshot(open(), vec![pod]);
        let notice = steps(&snapshot, &Recorded::default()).into_iter().find_map(|step| match step {
            Step::RecordEvent(notice) => Some(notice),
            _ => None,
        });
        let notice = notice.expect("an Event");
        assert_eq!(notice.reason, reason::UNSEEN);
        assert!(notice.message.contains("NetworkPolicy") && notice.message.contains(advice), "{}", notice.message);
    }
}

/// The outcomes recorded in each of these evaluations.
fn recorded_in(job: &JobEvidence, evaluations: &[(PodEvidence, Option<Hold>)], on_lost: OnLost) -> Vec<Vec<String>> {
    let mut recorded = Recorded::default();
    let evaluate = |(pod, hold): &(PodEvidence, Option<Hold>)| {
        let mut snapshot = mk_snapshot(job.clone(), vec![pod.clone()]);
        snapshot.policy.on_lost = on_lost;
        let mut names = Vec::new();
        for step in plan(&snapshot, &judged(&snapshot), &held_by(*hold), &recorded, at(NOW)) {
            if let Step::Record(draft) = step {
                recorded.outcomes.insert(draft.name.clone(), true);
                names.push(draft.name.to_string());
            }
        }
        names
    };
    evaluations.iter().map(evaluate).collect()
}

#[test]
fn each_reason_is_reported_once_and_again_after_a_recovery() {
    let lost = || (unreachable("w", 100), None);
    let evaluations = [unseen(), unseen(), lost(), lost(), healthy(), healthy(), unseen(), lost(), healthy()];
    let expected: [&[&str]; 9] = [
        &["w-uid.suspect.unseen"],
        &[],
        &["w-uid.suspect.node-unreachable"],
        &[],
        &["w-uid.recovered"],
        &[],
        &["w-uid.suspect.unseen.1"],
        &["w-uid.suspect.node-unreachable.1"],
        &["w-uid.recovered.1"],
    ];
    assert_eq!(recorded_in(&open(), &evaluations, OnLost::Report), expected);
}

#[test]
fn a_held_loss_is_no_obstacle_to_the_report_of_the_loss() {
    let evaluations = [held(), (unreachable("w", 100), None), healthy()];
    let expected: [&[&str]; 3] =
        [&["w-uid.suspect.held-node-unreachable"], &["w-uid.suspect.node-unreachable"], &["w-uid.recovered"]];
    assert_eq!(recorded_in(&open(), &evaluations, OnLost::Report), expected);
}

#[test]
fn a_recovery_says_what_is_over() {
    let recorded = recorded_outcomes(&[OutcomeName::notice("w-uid", reason::UNSEEN, Episode::default())], true);
    let steps = steps(&mk_snapshot(open(), vec![mk_pod("w")]), &recorded);
    let Some(Step::Record(draft)) = steps.first() else { panic!("a recovery is recorded: {steps:?}") };
    assert_eq!((draft.data.kind, draft.data.reason.as_str()), (OutcomeKind::Recovered, reason::HEARTBEAT_RESUMED));
    assert!(draft.data.message.ends_with("it was reported before (unseen)."), "{}", draft.data.message);
}

#[test]
fn a_job_that_gets_its_pod_recovers_from_not_starting() {
    let mut recorded =
        recorded_outcomes(&[OutcomeName::notice("job-uid", reason::NOT_STARTING, Episode::default())], true);
    let runs = mk_snapshot(open(), vec![mk_pod("w")]);
    assert_eq!(brief(&steps(&runs, &recorded)), ["record job-uid.recovered recovered HeartbeatResumed"]);
    recorded.outcomes.insert(OutcomeName::recovered("job-uid", Episode::default()), true);
    assert!(steps(&runs, &recorded).is_empty());
}

/// A pod in which container `main` runs on and `first` ended with this exit code `seconds` ago.
fn exited(exit_code: i32, seconds: u64) -> PodEvidence {
    let since = at(NOW - seconds);
    PodEvidence { exited: Some(ExitedContainer { container: "first".into(), exit_code, since }), ..mk_pod("w") }
}

/// The reason and the message of the notice that is recorded about a pod.
fn notice(pod: PodEvidence) -> Option<(String, String)> {
    let steps = steps(&mk_snapshot(open(), vec![pod]), &Recorded::default());
    steps.into_iter().find_map(|step| match step {
        Step::Record(draft) => Some((draft.data.reason, draft.data.message)),
        _ => None,
    })
}

#[test]
fn a_container_that_ended_while_another_runs_on_is_reported_once() {
    assert_eq!(notice(exited(0, 599)), None);
    let (reason, message) = notice(exited(5, 600)).expect("a notice");
    assert_eq!(reason, reason::CONTAINER_EXITED);
    assert!(message.starts_with("Container first ended with exit code 5 in pod w"), "{message}");
    let evaluations = [(exited(0, 600), None), unseen(), (exited(0, 600), None), (exited(0, 600), None)];
    let expected: [&[&str]; 4] =
        [&["w-uid.suspect.container-exited"], &["w-uid.suspect.unseen"], &["w-uid.recovered"], &[]];
    assert_eq!(recorded_in(&open(), &evaluations, OnLost::Retry), expected);
}

#[test]
fn a_failed_container_fails_its_job_if_the_policy_says_so() {
    let mut snapshot = mk_snapshot(open(), vec![exited(5, 1)]);
    assert!(planned(&snapshot).is_empty());
    snapshot.policy.on_container_exit = OnContainerExit::Fail;
    assert_eq!(planned(&snapshot), ["end ContainerFailed", "notify ContainerFailed"]);
    snapshot.evidence.pods = vec![exited(0, 1)];
    assert!(planned(&snapshot).is_empty(), "it has succeeded");
}

#[test]
fn a_pod_without_a_node_is_reported_in_the_schedulers_words() {
    let message = "0/4 nodes are available: 4 Insufficient cpu.";
    let pod = PodEvidence {
        phase: PodPhase::Pending,
        node: None,
        bound_since: None,
        unscheduled_since: Some(at(NOW - 600)),
        cause: Cause { message: Some(message.to_owned()), ..Cause::default() },
        ..mk_pod("w")
    };
    let (reason, says) = notice(pod).expect("a notice");
    assert_eq!(reason, reason::UNSCHEDULED);
    assert!(says.contains(message), "{says}");
}

#[test]
fn a_pod_that_waits_for_a_node_that_is_not_ready_is_reported() {
    let node = crate::evidence::NodeEvidence { state: NodeState::NotReady, ..mk_pod("w").node.expect("a node") };
    let pod = PodEvidence {
        phase: PodPhase::Pending,
        node: Some(node),
        bound_since: Some(at(NOW - 600)),
        mains: vec![MainContainer { name: "main".to_owned(), state: ContainerState::NotStarted }],
        starting_since: Some(at(NOW - 600)),
        sidecar: Sidecar::NotStarted,
        beat: LastBeat::None,
        agent: AgentObservation::None,
        ..mk_pod("w")
    };
    assert_eq!(notice(pod).map(|(reason, _)| reason).as_deref(), Some(reason::NODE_NOT_READY));
}

#[test]
fn a_pod_that_our_sidecar_keeps_from_starting_by_its_events_is_nobodys_loss() {
    let pod = PodEvidence {
        phase: PodPhase::Pending,
        starting_since: Some(at(NOW - 600)),
        sidecar: Sidecar::NotStarted,
        beat: LastBeat::None,
        agent: AgentObservation::None,
        ..mk_pod("w")
    };
    let snapshot = mk_snapshot(retrying(Retries::Exhausted), vec![pod]);
    assert_eq!(planned(&snapshot)[..2], ["confirm-not-our-fault w", "fail StartTimeout"]);
    let mut recorded = Recorded::default();
    recorded.sidecar_faults.insert("w-uid".into(), "failed to fetch token".to_owned());
    let steps = steps(&snapshot, &recorded);
    assert_eq!(brief(&steps), ["record w-uid.suspect.sidecar-fault suspect SidecarFault", "notify SidecarFault"]);
    let Some(Step::Record(draft)) = steps.first() else { panic!("a notice: {steps:?}") };
    assert!(draft.data.message.contains("The kubelet says: failed to fetch token."), "{}", draft.data.message);
}

#[rstest]
#[case::lost_for_another_reason(PodEvidence { sidecar: Sidecar::NotStarted, ..on_gone_node("w") })]
#[case::the_sidecar_runs(
    PodEvidence { phase: PodPhase::Pending, starting_since: Some(at(NOW - 600)), beat: LastBeat::None, ..mk_pod("w") },
)]
fn a_loss_that_our_sidecar_has_no_part_in_is_not_confirmed(#[case] pod: PodEvidence) {
    let snapshot = mk_snapshot(retrying(Retries::Left), vec![pod]);
    assert_eq!(planned(&snapshot)[0], "delete w");
}
