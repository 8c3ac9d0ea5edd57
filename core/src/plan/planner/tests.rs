//! The steps for every verdict.

use std::time::Duration;

use jobwarden_common::{
    names::reason,
    notification::{Cause, OutcomeData, OutcomeKind},
};
use rstest::rstest;

use super::*;
use crate::{
    builders::evidence::{
        NOW, at, held_by, judged, mk_job, mk_pod, mk_snapshot, on_gone_node, terminating, unreachable,
    },
    evidence::{
        AgentObservation, ContainerState, Finish, JobEvidence, JobStage, LastBeat, NodeState, PodEvidence, PodPhase,
        Retries, Sidecar, StartProblem,
    },
    guard::Hold,
    judge::GONE_REPORTS,
    outcome::{Episode, OutcomeName},
    policy::{OnLost, Unseen},
};

fn finished(reason: Option<&str>) -> JobStage {
    let finish = match reason {
        None => Finish::Complete,
        Some(reason) => Finish::Failed { reason: reason.to_owned(), message: "the message".to_owned() },
    };
    JobStage::Finished { since: at(NOW - 60), finish }
}

fn failing(reason: &str) -> JobStage {
    JobStage::Failing { reason: reason.to_owned(), message: "the message".to_owned() }
}

fn open() -> JobEvidence {
    mk_job(JobStage::Open)
}

fn retrying(retries: Retries) -> JobEvidence {
    JobEvidence { retries, ..open() }
}

mod bare;
mod choices;
mod enrolment;
mod history;
mod notices;
mod removal;

fn steps(snapshot: &JobSnapshot, recorded: &Recorded) -> Vec<Step> {
    plan(snapshot, &judged(snapshot), &Holds::default(), recorded, at(NOW))
}

/// The steps, each in a few words.
fn brief(steps: &[Step]) -> Vec<String> {
    let words = steps.iter().map(|step| match step {
        Step::FailJob { reason, .. } => format!("fail {reason}"),
        Step::EndJob { reason, .. } => format!("end {reason}"),
        Step::DeletePod { pod, .. } => format!("delete {}", pod.name),
        Step::MarkPodFailed { pod, .. } => format!("mark-failed {}", pod.name),
        Step::ForceDeletePod { pod } => format!("force-delete {}", pod.name),
        Step::Record(draft) => format!("record {} {} {}", draft.name, draft.data.kind, draft.data.reason),
        Step::RecordEvent(notice) => format!("notify {}", notice.reason),
        Step::ClearNotice((_, reason)) => format!("clear {reason}"),
        Step::Abandon(pod) => format!("abandon {pod}"),
        Step::ConfirmNotOurFault { pod } => format!("confirm-not-our-fault {}", pod.name),
        other => other.as_str().to_owned(),
    });
    words.collect()
}

fn planned(snapshot: &JobSnapshot) -> Vec<String> {
    brief(&steps(snapshot, &Recorded::default()))
}

fn recorded_outcomes(names: &[OutcomeName], delivery_has_ended: bool) -> Recorded {
    Recorded { outcomes: names.iter().map(|name| (name.clone(), delivery_has_ended)).collect(), ..Recorded::default() }
}

fn job_final() -> OutcomeName {
    OutcomeName::job_final(&"job-uid".into())
}

#[rstest]
#[case::complete(None, "record job-uid.final succeeded Complete")]
#[case::failed(Some("BackoffLimitExceeded"), "record job-uid.final failed BackoffLimitExceeded")]
#[case::by_our_verdict_without_an_outcome(Some("NodeUnreachable"), "record job-uid.final lost NodeUnreachable")]
fn j1_a_finished_job_is_recorded_before_it_is_released(#[case] reason: Option<&str>, #[case] recorded: &str) {
    let snapshot = mk_snapshot(mk_job(finished(reason)), vec![]);
    assert_eq!(planned(&snapshot), [recorded, "release-finalizer"]);
}

#[test]
fn j1_a_finished_job_is_recorded_once() {
    let snapshot = mk_snapshot(mk_job(finished(None)), vec![]);
    assert_eq!(brief(&steps(&snapshot, &recorded_outcomes(&[job_final()], false))), ["release-finalizer"]);
}

#[test]
fn j1_the_cause_is_taken_from_the_pod_that_says_why() {
    let oom = Cause {
        container: Some("main".to_owned()),
        reason: Some("OOMKilled".to_owned()),
        exit_code: Some(137),
        ..Cause::default()
    };
    let failed = |name: &str, cause: Cause| PodEvidence { phase: PodPhase::Failed, cause, ..mk_pod(name) };
    let pods = vec![failed("a", Cause::default()), failed("b", oom.clone()), failed("c", Cause::default())];
    let snapshot = mk_snapshot(mk_job(finished(Some("BackoffLimitExceeded"))), pods);
    let Some(Step::Record(draft)) = steps(&snapshot, &Recorded::default()).into_iter().next() else {
        panic!("an outcome is recorded first")
    };
    assert_eq!(draft.data.cause, oom);
    assert_eq!(draft.data.message, "the message. Container main ended with OOMKilled, exit code 137.");
    assert_eq!(draft.data.attempt.map(|attempt| attempt.pod_name), Some("b".to_owned()));
    assert_eq!(draft.data.decided_by.row, "J1");
}

/// A final outcome waits for the steps about every pod, any other for those about its own.
#[rstest]
#[case::final_of_the_job(open(), None)]
#[case::of_an_attempt(retrying(Retries::Left), Some("w-uid"))]
fn an_outcome_is_about_its_attempt_unless_it_is_final(#[case] job: JobEvidence, #[case] pod: Option<&str>) {
    let steps = steps(&mk_snapshot(job, vec![unreachable("w", 100)]), &Recorded::default());
    let record = steps.iter().find(|step| matches!(step, Step::Record(_))).expect("an outcome");
    assert_eq!(record.pod().map(ToString::to_string).as_deref(), pod);
}

#[test]
fn a_late_success_is_mentioned_in_the_outcome_of_a_lost_job() {
    let succeeded = PodEvidence { phase: PodPhase::Succeeded, ..mk_pod("w") };
    let snapshot = mk_snapshot(mk_job(finished(Some("NodeUnreachable"))), vec![succeeded]);
    let Some(Step::Record(draft)) = steps(&snapshot, &Recorded::default()).into_iter().next() else {
        panic!("an outcome is recorded first")
    };
    assert_eq!(draft.data.kind, OutcomeKind::Lost);
    assert_eq!(draft.data.decided_by.row, "P8");
    assert!(draft.data.message.contains("succeeded in the same moment"), "{}", draft.data.message);
    assert!(draft.data.work_may_be_done);
}

#[rstest]
#[case::after_its_retention(3600, true, false, false, true)]
#[case::within_its_retention(3599, true, false, false, false)]
#[case::not_before_it_is_delivered(3600, false, false, false, false)]
#[case::its_controller_deletes_it(3600, true, true, false, false)]
#[case::kubernetes_deletes_it(3600, true, false, true, false)]
fn a_finished_job_is_deleted_after_retention_and_delivery(
    #[case] age: u64,
    #[case] delivery_has_ended: bool,
    #[case] owned: bool,
    #[case] has_ttl: bool,
    #[case] deleted: bool,
) {
    let job = JobEvidence { owned, has_ttl, has_finalizer: false, ..mk_job(finished(None)) };
    let snapshot = mk_snapshot(job, vec![]);
    let now = at(NOW - 60 + age);
    let judgement = judged(&snapshot);
    let steps =
        plan(&snapshot, &judgement, &Holds::default(), &recorded_outcomes(&[job_final()], delivery_has_ended), now);
    assert_eq!(steps, if deleted { vec![Step::DeleteJob] } else { vec![] });
    let again = requeue_at(&snapshot, &judgement, &Holds::default(), now);
    assert_eq!(again, (age < 3600).then(|| at(NOW - 60 + 3600)), "the plan changes when the retention ends");
}

/// Of a Job that ended a minute ago.
#[rstest]
#[case::succeeded(None, 2)]
#[case::failed(Some("BackoffLimitExceeded"), 3)]
#[case::overdue(Some("DeadlineExceeded"), 3)]
#[case::lost(Some("NodeUnreachable"), 4)]
fn a_finished_job_is_kept_by_how_it_ended(#[case] reason: Option<&str>, #[case] hours: u64) {
    let job = JobEvidence { has_finalizer: false, ..mk_job(finished(reason)) };
    let mut snapshot = mk_snapshot(job, vec![]);
    snapshot.policy.retention_succeeded = Some(Duration::from_hours(2));
    snapshot.policy.retention_failed = Some(Duration::from_hours(3));
    snapshot.policy.retention_lost = Some(Duration::from_hours(4));
    let until = at(NOW - 60 + hours * 3600);
    assert_eq!(retained_until(&snapshot), Some(until));
    let recorded = recorded_outcomes(&[job_final()], true);
    let deletes = |now| {
        let steps = plan(&snapshot, &judged(&snapshot), &Holds::default(), &recorded, now);
        steps.contains(&Step::DeleteJob)
    };
    assert!(deletes(until) && !deletes(until.before(Duration::from_secs(1))));
}

#[test]
fn j2_a_deleted_job_is_recorded_then_its_pods_deleted_then_released() {
    let pods = vec![
        mk_pod("runs"),
        terminating(mk_pod("goes"), NOW - 1),
        PodEvidence { phase: PodPhase::Succeeded, ..mk_pod("done") },
    ];
    let snapshot = mk_snapshot(mk_job(JobStage::Deleting { orphaning: false }), pods);
    assert_eq!(
        planned(&snapshot),
        ["confirm-deleted", "record job-uid.final lost JobDeleted", "delete runs", "release-finalizer"]
    );
}

#[test]
fn j2_a_deletion_that_orphans_leaves_the_pods_alone() {
    let snapshot = mk_snapshot(mk_job(JobStage::Deleting { orphaning: true }), vec![mk_pod("runs")]);
    assert_eq!(planned(&snapshot), ["confirm-deleted", "record job-uid.final lost JobDeleted", "release-finalizer"]);
}

#[test]
fn j2_a_job_with_an_owning_controller_is_reported_as_deleted() {
    let job = JobEvidence { owned: true, ..mk_job(JobStage::Vanished) };
    let snapshot = mk_snapshot(job, vec![]);
    assert_eq!(planned(&snapshot), ["confirm-deleted", "record job-uid.final deleted JobDeleted", "forget"]);
}

#[test]
fn j2_a_lost_job_that_is_then_deleted_is_reported_once() {
    let snapshot = mk_snapshot(mk_job(JobStage::Vanished), vec![]);
    assert_eq!(brief(&steps(&snapshot, &recorded_outcomes(&[job_final()], true))), ["forget"]);
}

#[test]
fn j3_the_job_of_another_controller_is_ignored() {
    let job = JobEvidence { managed_elsewhere: true, ..open() };
    let snapshot = mk_snapshot(job, vec![unreachable("w", 100)]);
    assert!(planned(&snapshot).is_empty());
}

#[test]
fn j4_our_verdict_is_recorded_after_a_crash_in_between() {
    let snapshot = mk_snapshot(mk_job(failing("NodeUnreachable")), vec![unreachable("w", 100)]);
    assert_eq!(planned(&snapshot), ["record job-uid.final lost NodeUnreachable"]);
}

#[test]
fn j4_a_failure_by_kubernetes_is_recorded_when_it_is_complete() {
    let snapshot = mk_snapshot(mk_job(failing("BackoffLimitExceeded")), vec![mk_pod("w")]);
    assert!(planned(&snapshot).is_empty());
}

#[rstest]
#[case::failing(failing("DeadlineExceeded"))]
#[case::succeeding(JobStage::Succeeding)]
fn j4_a_pod_that_terminates_on_an_unreachable_node_is_marked_failed_but_not_removed(#[case] stage: JobStage) {
    let snapshot = mk_snapshot(mk_job(stage), vec![terminating(unreachable("w", 100), NOW - 5)]);
    assert_eq!(planned(&snapshot), ["mark-failed w", "abandon w-uid"]);
}

#[test]
fn j4_a_pod_that_terminates_on_a_gone_node_is_removed_too() {
    let snapshot = mk_snapshot(mk_job(failing("DeadlineExceeded")), vec![terminating(on_gone_node("w"), NOW - 5)]);
    assert_eq!(planned(&snapshot), ["mark-failed w", "force-delete w", "abandon w-uid"]);
}

#[test]
fn j4_a_live_pod_that_terminates_is_left_to_its_kubelet() {
    let snapshot = mk_snapshot(mk_job(failing("DeadlineExceeded")), vec![terminating(mk_pod("w"), NOW - 5)]);
    assert!(planned(&snapshot).is_empty());
}

#[test]
fn j5_only_fenced_pods_of_a_suspended_job_are_marked_failed_because_it_may_resume() {
    let job = || JobEvidence { suspended: true, ..open() };
    let pods = vec![terminating(unreachable("far", 100), NOW - 5), terminating(on_gone_node("gone"), NOW - 5)];
    let planned = planned(&mk_snapshot(job(), pods));
    assert_eq!(planned, ["abandon far-uid", "mark-failed gone", "force-delete gone", "abandon gone-uid"]);
}

#[test]
fn j6_a_job_without_a_pod_is_reported() {
    let job = JobEvidence { podless_since: Some(at(NOW - 600)), ..open() };
    assert_eq!(
        planned(&mk_snapshot(job, vec![])),
        ["record job-uid.suspect.not-starting suspect NotStarting", "notify NotStarting"]
    );
}

#[test]
fn a_lost_pod_without_retries_fails_the_job_before_the_outcome_is_recorded() {
    let snapshot = mk_snapshot(retrying(Retries::Exhausted), vec![unreachable("w", 100), unreachable("v", 100)]);
    assert_eq!(
        planned(&snapshot),
        [
            "fail NodeUnreachable",
            "record job-uid.final lost NodeUnreachable",
            "abandon w-uid",
            "notify NodeUnreachable"
        ]
    );
}

#[rstest]
#[case(Retries::Left)]
#[case(Retries::LeftToKubernetes)]
fn a_lost_pod_with_retries_is_deleted_and_its_job_is_not_lost(#[case] retries: Retries) {
    let snapshot = mk_snapshot(retrying(retries), vec![unreachable("w", 100)]);
    assert_eq!(
        planned(&snapshot),
        [
            "delete w",
            "record w-uid.attempt-failed attempt_failed NodeUnreachable",
            "abandon w-uid",
            "notify NodeUnreachable"
        ]
    );
}

#[test]
fn a_lost_pod_on_a_gone_node_is_marked_failed_at_once() {
    let snapshot = mk_snapshot(retrying(Retries::Left), vec![on_gone_node("w")]);
    assert_eq!(
        planned(&snapshot),
        [
            "delete w",
            "mark-failed w",
            "force-delete w",
            "record w-uid.attempt-failed attempt_failed NodeGone",
            "abandon w-uid",
            "notify NodeGone"
        ]
    );
}

#[test]
fn an_unfenced_pod_that_is_safe_to_duplicate_is_marked_failed_but_not_removed() {
    let job = JobEvidence { safe_to_duplicate: true, ..retrying(Retries::Left) };
    let planned = planned(&mk_snapshot(job, vec![unreachable("w", 100)]));
    assert_eq!(planned[..2], ["delete w", "mark-failed w"]);
    assert!(!planned.contains(&"force-delete w".to_owned()));
}

#[test]
fn processes_that_the_agent_reported_gone_are_fenced_although_the_node_is_silent() {
    let gone = AgentObservation::Gone { since: at(100), reports: GONE_REPORTS };
    let snapshot = mk_snapshot(retrying(Retries::Left), vec![PodEvidence { agent: gone, ..unreachable("w", 100) }]);
    assert_eq!(planned(&snapshot)[..3], ["delete w", "mark-failed w", "force-delete w"]);
}

#[test]
fn an_attempt_that_is_counted_already_does_not_fail_the_job() {
    // This pod used up the last retry, but its replacement is being created.
    let snapshot = mk_snapshot(retrying(Retries::Exhausted), vec![terminating(unreachable("w", 100), NOW - 5)]);
    assert!(!planned(&snapshot).iter().any(|step| step.starts_with("fail")));
    let replaced = vec![terminating(unreachable("w", 100), NOW - 900), mk_pod("v")];
    assert!(!planned(&mk_snapshot(retrying(Retries::Exhausted), replaced)).iter().any(|step| step.starts_with("fail")));
}

#[test]
fn a_job_whose_next_attempt_succeeded_is_not_failed_for_an_earlier_one() {
    let succeeded = PodEvidence { phase: PodPhase::Succeeded, ..mk_pod("v") };
    let pods = vec![terminating(unreachable("w", 100), NOW - 900), succeeded];
    assert!(!planned(&mk_snapshot(retrying(Retries::Exhausted), pods)).iter().any(|step| step.starts_with("fail")));
}

#[rstest]
#[case::its_next_attempt_is_being_deleted_too(vec![terminating(mk_pod("v"), NOW - 5)])]
#[case::none_was_created_yet(vec![])]
fn an_attempt_that_is_counted_never_fails_the_job_however_long_it_terminates(#[case] others: Vec<PodEvidence>) {
    let pods = [vec![terminating(unreachable("w", 100), NOW - 900)], others].concat();
    assert!(!planned(&mk_snapshot(retrying(Retries::Exhausted), pods)).iter().any(|step| step.starts_with("fail")));
}

#[test]
fn a_pod_that_is_counted_only_once_it_has_ended_fails_the_job() {
    let job = JobEvidence { replaces_only_failed: true, ..retrying(Retries::Exhausted) };
    let snapshot = mk_snapshot(job, vec![terminating(unreachable("w", 100), NOW - 5)]);
    assert_eq!(planned(&snapshot)[0], "fail NodeUnreachable");
}

#[test]
fn with_on_lost_fail_every_loss_fails_the_job() {
    let mut snapshot = mk_snapshot(retrying(Retries::Left), vec![unreachable("w", 100)]);
    snapshot.policy.on_lost = OnLost::Fail;
    assert_eq!(planned(&snapshot)[0], "fail NodeUnreachable");
}

#[test]
fn with_on_lost_report_a_loss_is_only_reported() {
    let mut snapshot = mk_snapshot(open(), vec![unreachable("w", 100)]);
    snapshot.policy.on_lost = OnLost::Report;
    assert_eq!(
        planned(&snapshot),
        ["record w-uid.suspect.node-unreachable suspect NodeUnreachable", "notify NodeUnreachable"]
    );
}

#[rstest]
#[case(Hold::SelfBeat)]
#[case(Hold::WatchDown)]
#[case(Hold::WarmUp { until: at(NOW + 7) })]
fn a_guard_holds_every_write_but_not_the_notice(#[case] hold: Hold) {
    let lost = mk_snapshot(open(), vec![unreachable("w", 100)]);
    let holds = held_by(Some(hold));
    let planned =
        |snapshot: &JobSnapshot| brief(&plan(snapshot, &judged(snapshot), &holds, &Recorded::default(), at(NOW)));
    assert_eq!(planned(&lost), ["record w-uid.suspect.held-node-unreachable suspect NodeUnreachable", "notify Held"]);
    let stuck = mk_snapshot(mk_job(failing("DeadlineExceeded")), vec![terminating(unreachable("w", 100), NOW - 5)]);
    assert!(planned(&stuck).is_empty());
    if let Hold::WarmUp { until } = hold {
        assert_eq!(requeue_at(&lost, &judged(&lost), &holds, at(NOW)), Some(until));
    }
}

#[test]
fn no_guard_holds_what_kubernetes_reports() {
    let snapshot = mk_snapshot(mk_job(finished(None)), vec![]);
    let steps = plan(&snapshot, &judged(&snapshot), &held_by(Some(Hold::SelfBeat)), &Recorded::default(), at(NOW));
    assert_eq!(brief(&steps), ["record job-uid.final succeeded Complete", "release-finalizer"]);
}

#[test]
fn a_job_that_the_job_controller_has_not_started_is_not_failed() {
    let job = JobEvidence { started: false, ..open() };
    assert!(planned(&mk_snapshot(job, vec![unreachable("w", 100)])).is_empty());
}

#[test]
fn p3_a_fault_of_our_sidecar_is_reported_and_never_a_loss() {
    let problem = StartProblem {
        container: "jobwarden-heartbeat".to_owned(),
        reason: "ErrImagePull".to_owned(),
        message: "no such image".to_owned(),
        ours: true,
    };
    let mut pod = PodEvidence { start_problem: Some(problem), starting_since: Some(at(1)), ..mk_pod("w") };
    pod.sidecar = Sidecar::NotStarted;
    pod.mains[0].state = ContainerState::NotStarted;
    assert_eq!(
        planned(&mk_snapshot(open(), vec![pod])),
        ["record w-uid.suspect.sidecar-fault suspect SidecarFault", "notify SidecarFault"]
    );
}

#[test]
fn p3_a_missing_image_is_the_cause_of_the_loss() {
    let problem = StartProblem {
        container: "main".to_owned(),
        reason: "ErrImagePull".to_owned(),
        message: "no such image".to_owned(),
        ours: false,
    };
    let pod = PodEvidence { start_problem: Some(problem), starting_since: Some(at(1)), ..mk_pod("w") };
    let steps = steps(&mk_snapshot(open(), vec![pod]), &Recorded::default());
    assert_eq!(brief(&steps)[0], "fail ImagePullFailed");
    let Some(Step::Record(draft)) = steps.get(1) else { panic!("an outcome is recorded second") };
    assert_eq!(draft.data.cause.reason.as_deref(), Some("ErrImagePull"));
    assert_eq!(draft.data.decided_by.row, "P3");
}

#[test]
fn p6_a_stuck_pod_is_an_event() {
    assert_eq!(planned(&mk_snapshot(open(), vec![terminating(mk_pod("w"), NOW - 200)])), ["notify Stuck"]);
}

#[test]
fn p7_a_live_pod_without_a_beat_is_an_event() {
    let pod = PodEvidence { beat: LastBeat::None, ..mk_pod("w") };
    assert_eq!(planned(&mk_snapshot(open(), vec![pod])), ["notify SidecarFault"]);
}

#[test]
fn p7_a_missing_sidecar_is_not_reported_as_a_sidecar_fault() {
    let pod = PodEvidence { beat: LastBeat::None, sidecar: Sidecar::Absent, ..mk_pod("w") };
    assert_eq!(planned(&mk_snapshot(open(), vec![pod])), ["notify SidecarMissing"]);
}

#[test]
fn p7_a_sidecar_that_admission_left_out_is_no_fault() {
    let pod = PodEvidence { beat: LastBeat::None, sidecar: Sidecar::LeftOut, ..mk_pod("w") };
    let snapshot = mk_snapshot(open(), vec![pod]);
    assert_eq!(judged(&snapshot).pods[0].verdict, crate::verdict::PodVerdict::Alive { without_beat: false });
    assert!(planned(&snapshot).is_empty());
}

#[test]
fn p7_a_live_pod_needs_no_steps_whatever_the_state_of_its_node() {
    let mut pod = mk_pod("w");
    if let Some(node) = &mut pod.node {
        node.state = NodeState::NotReady;
        node.lease_changed = at(1);
    }
    assert!(planned(&mk_snapshot(open(), vec![pod])).is_empty());
}

#[test]
fn p9_an_unseen_pod_is_reported_or_lost_if_the_policy_says_so() {
    let unseen =
        || PodEvidence { beat: LastBeat::Running { last: at(1) }, agent: AgentObservation::None, ..mk_pod("w") };
    let mut snapshot = mk_snapshot(open(), vec![unseen()]);
    assert_eq!(planned(&snapshot), ["record w-uid.suspect.unseen suspect Unseen", "notify Unseen"]);
    snapshot.policy.unseen = Unseen::Lost;
    assert_eq!(planned(&snapshot)[0], "fail HeartbeatLost");
}

#[test]
fn p9_a_pod_that_failed_with_its_node_is_neither_unseen_nor_lost_while_the_lease_is_still_fresh() {
    let failed_with_its_node = |lease_changed, unseen| {
        let mut pod = PodEvidence {
            beat: LastBeat::Running { last: at(NOW - 125) },
            agent: AgentObservation::None,
            ..mk_pod("w")
        };
        if let Some(node) = &mut pod.node {
            node.lease_changed = at(lease_changed);
        }
        let mut snapshot = mk_snapshot(open(), vec![pod]);
        snapshot.policy.unseen = unseen;
        snapshot
    };
    assert!(planned(&failed_with_its_node(NOW - 10, Unseen::Lost)).is_empty());
    assert_eq!(planned(&failed_with_its_node(NOW - 4, Unseen::Lost))[0], "fail HeartbeatLost");
    let still_fresh = failed_with_its_node(NOW - 10, Unseen::Report);
    assert!(planned(&still_fresh).is_empty());
    let judgement = judged(&still_fresh);
    assert_eq!(
        requeue_at(&still_fresh, &judgement, &Holds::default(), at(NOW)),
        Some(at(NOW + 30)),
        "when the Lease becomes stale"
    );
    assert_eq!(
        planned(&failed_with_its_node(NOW - 4, Unseen::Report)),
        ["record w-uid.suspect.unseen suspect Unseen", "notify Unseen"]
    );
}

#[test]
fn a_replaced_attempt_that_returns_from_a_partition_is_told_to_stop_and_not_reported_again() {
    let recorded = recorded_outcomes(&[OutcomeName::attempt_failed(&"w-uid".into(), Episode::default())], true);
    let alive = terminating(mk_pod("w"), NOW - 300);
    let silent =
        PodEvidence { beat: LastBeat::Running { last: at(1) }, agent: AgentObservation::None, ..alive.clone() };
    let planned = |pod| brief(&steps(&mk_snapshot(retrying(Retries::Left), vec![pod]), &recorded));
    assert_eq!(
        planned(PodEvidence { agent: AgentObservation::None, ..alive }),
        ["abandon w-uid", "notify HeartbeatResumed"]
    );
    assert_eq!(planned(silent), ["abandon w-uid"]);
}

#[test]
fn p10_a_late_beat_is_an_event_and_a_notification_if_the_policy_says_so() {
    let late =
        PodEvidence { beat: LastBeat::Running { last: at(NOW - 40) }, agent: AgentObservation::None, ..mk_pod("w") };
    let mut snapshot = mk_snapshot(open(), vec![late]);
    assert_eq!(planned(&snapshot), ["notify Suspect"]);
    snapshot.policy.notify_late = true;
    assert_eq!(planned(&snapshot), ["record w-uid.suspect.heartbeat-late suspect HeartbeatLate", "notify Suspect"]);
}

#[test]
fn a_pod_that_was_marked_failed_is_removed_after_a_crash_in_between() {
    let cause = Cause { reason: Some("NodeGone".to_owned()), ..Cause::default() };
    let marked_failed = |since| {
        let pod = PodEvidence { phase: PodPhase::Failed, cause: cause.clone(), ..on_gone_node("w") };
        mk_snapshot(retrying(Retries::Left), vec![terminating(pod, since)])
    };
    assert_eq!(planned(&marked_failed(NOW - 90)), ["force-delete w"]);
    let mut ending = marked_failed(NOW - 90);
    ending.evidence.job.stage = failing("DeadlineExceeded");
    assert_eq!(planned(&ending), ["force-delete w"]);
    let waiting = marked_failed(NOW - 80);
    assert!(planned(&waiting).is_empty());
    assert_eq!(requeue_at(&waiting, &judged(&waiting), &Holds::default(), at(NOW)), Some(at(NOW + 10)));
}

/// What the steps of a plan have recorded and abandoned is not planned again.
#[rstest]
#[case::without_retries(open(), vec![unreachable("w", 100)])]
#[case::with_retries(retrying(Retries::Left), vec![terminating(unreachable("w", 100), NOW - 5), unreachable("v", 100)])]
#[case::no_pod(JobEvidence { podless_since: Some(at(1)), ..open() }, vec![])]
#[case::finished(mk_job(finished(None)), vec![])]
#[case::deleted(mk_job(JobStage::Deleting { orphaning: false }), vec![mk_pod("w")])]
fn outcomes_and_events_are_recorded_once(#[case] job: JobEvidence, #[case] pods: Vec<PodEvidence>) {
    let snapshot = mk_snapshot(job, pods);
    let mut recorded = Recorded::default();
    let first = steps(&snapshot, &recorded);
    assert!(first.iter().any(|step| matches!(step, Step::Record(_))));
    for step in first {
        match step {
            Step::Record(draft) => {
                recorded.outcomes.insert(draft.name, false);
            }
            Step::RecordEvent(notice) => {
                recorded.notified.insert(notice.key());
            }
            Step::Abandon(pod) => {
                recorded.abandoned.insert(pod);
            }
            _ => {}
        }
    }
    let second = steps(&snapshot, &recorded);
    assert!(
        !second.iter().any(|step| matches!(step, Step::Record(_) | Step::RecordEvent(_) | Step::Abandon(_))),
        "{second:?}"
    );
}

#[test]
fn observing_only_leaves_no_write_to_a_job_or_pod() {
    let all = [
        mk_snapshot(open(), vec![unreachable("w", 100)]),
        mk_snapshot(retrying(Retries::Left), vec![on_gone_node("w")]),
        mk_snapshot(mk_job(finished(None)), vec![]),
        mk_snapshot(mk_job(JobStage::Vanished), vec![mk_pod("w")]),
    ];
    for mut snapshot in all {
        snapshot.policy.on_lost = OnLost::Report;
        let left: Vec<_> =
            steps(&snapshot, &Recorded::default()).into_iter().filter(|step| !step.writes_workload()).collect();
        let harmless =
            |step: &Step| matches!(step, Step::Record(_) | Step::RecordEvent(_) | Step::ConfirmDeleted | Step::Forget);
        assert!(!left.is_empty() && left.iter().all(harmless), "{left:?}");
    }
}
