//! Which attempt an outcome is about, and with which cause.

use rstest::rstest;

use super::*;
use crate::{
    builders::evidence::{NOW, at, judged, mk_bare, mk_job, mk_pod, mk_snapshot, on_gone_node, unreachable},
    evidence::{Finish, JobEvidence, JobStage},
};

fn drafter<'a>(snapshot: &'a JobSnapshot, judgement: &'a Judgement) -> Drafter<'a> {
    Drafter { snapshot, judgement, now: at(NOW) }
}

/// A pod that failed in this minute with a cause of this kind.
fn ended(name: &str, kind: CauseKind, minute: u32) -> PodEvidence {
    let finished_at = Some(format!("2026-01-02T03:{minute:02}:00Z"));
    let cause = Cause { kind: Some(kind), reason: Some(kind.as_str().to_owned()), finished_at, ..Cause::default() };
    PodEvidence { phase: PodPhase::Failed, cause, ..mk_pod(name) }
}

fn past(name: &str, kind: CauseKind, minute: u32) -> PastAttempt {
    let pod = ended(name, kind, minute);
    PastAttempt { attempt: attempt(&pod), cause: pod.cause, work_done: false }
}

fn failed(reason: &str, message: &str, pods: Vec<PodEvidence>, past: Option<PastAttempt>) -> OutcomeData {
    let finish = Finish::Failed { reason: reason.to_owned(), message: message.to_owned() };
    let mut snapshot = mk_snapshot(mk_job(JobStage::Finished { since: at(NOW), finish }), pods);
    snapshot.past = past;
    drafter(&snapshot, &judged(&snapshot)).failed(JobVerdict::Finished, reason, message)
}

fn subject(data: &OutcomeData) -> (&str, Option<CauseKind>) {
    (data.attempt.as_ref().map_or("none", |attempt| &attempt.pod_name), data.cause.kind)
}

#[test]
fn the_last_attempt_to_fail_is_the_cause_in_whatever_order_the_pods_are_listed() {
    let early = ended("early", CauseKind::OomKilled, 1);
    let late = ended("late", CauseKind::ExitCode, 2);
    for pods in [vec![early.clone(), late.clone()], vec![late, early]] {
        assert_eq!(subject(&failed("BackoffLimitExceeded", "", pods, None)), ("late", Some(CauseKind::ExitCode)));
    }
}

#[test]
fn pods_that_were_deleted_because_the_job_failed_are_not_the_cause() {
    let pods = vec![ended("first", CauseKind::OomKilled, 1), ended("bystander", CauseKind::Deleted, 2)];
    assert_eq!(subject(&failed("BackoffLimitExceeded", "", pods, None)), ("first", Some(CauseKind::OomKilled)));
}

#[test]
fn a_pod_whose_object_is_gone_can_be_the_cause() {
    let gone = Some(past("gone", CauseKind::OomKilled, 1));
    let data = failed("BackoffLimitExceeded", "", vec![], gone.clone());
    assert_eq!(subject(&data), ("gone", Some(CauseKind::OomKilled)));
    let pods = vec![ended("there", CauseKind::ExitCode, 2)];
    assert_eq!(subject(&failed("BackoffLimitExceeded", "", pods, gone)), ("there", Some(CauseKind::ExitCode)));
}

#[rstest]
#[case::a_running_attempt(CauseKind::Deleted, CauseKind::DeadlineExceeded)]
#[case::an_attempt_that_could_not_start(CauseKind::ImagePullFailed, CauseKind::ImagePullFailed)]
fn a_deadline_names_the_last_attempt(#[case] last: CauseKind, #[case] expected: CauseKind) {
    let pods = vec![ended("first", CauseKind::OomKilled, 1), ended("last", last, 2)];
    assert_eq!(subject(&failed("DeadlineExceeded", "too long", pods, None)), ("last", Some(expected)));
}

#[test]
fn a_pod_failure_policy_names_the_pod_that_matched() {
    let pods = vec![ended("w-1", CauseKind::ExitCode, 1), ended("w-2", CauseKind::ExitCode, 2)];
    let message = "Container main for pod ort/w-1 failed with exit code 3 matching FailJob rule at index 0";
    let data = failed("PodFailurePolicy", message, pods, None);
    assert_eq!(subject(&data), ("w-1", Some(CauseKind::PodFailurePolicy)));
    assert_eq!(data.cause.message.as_deref(), Some(message));
}

#[test]
fn the_deletion_of_a_job_is_its_cause() {
    let snapshot = mk_snapshot(mk_job(JobStage::Deleting { orphaning: false }), vec![mk_pod("w")]);
    let data = drafter(&snapshot, &judged(&snapshot)).deleted();
    assert_eq!(subject(&data), ("w", Some(CauseKind::Deleted)));
}

#[test]
fn a_deadline_names_the_attempt_that_waited_for_a_node_until_then() {
    let pods = vec![ended("first", CauseKind::ExitCode, 1)];
    let mut waited = past("second", CauseKind::Unschedulable, 2);
    waited.cause.finished_at = None;
    let data = failed("DeadlineExceeded", "too long", pods.clone(), Some(waited.clone()));
    assert_eq!(subject(&data), ("second", Some(CauseKind::Unschedulable)));
    let ran = vec![ended("first", CauseKind::Deleted, 1)];
    let data = failed("DeadlineExceeded", "too long", ran, Some(waited));
    assert_eq!(subject(&data), ("first", Some(CauseKind::DeadlineExceeded)));
}

/// A pod whose containers have ended with exit code 0.
fn done(name: &str, phase: PodPhase) -> PodEvidence {
    PodEvidence { phase, work_done: true, ..mk_pod(name) }
}

#[rstest]
#[case::succeeded(vec![done("w", PodPhase::Succeeded)], None, true)]
#[case::not_yet_succeeded(vec![done("w", PodPhase::Running)], None, true)]
#[case::after_a_failed_attempt(vec![ended("v", CauseKind::ExitCode, 1), done("w", PodPhase::Running)], None, true)]
#[case::the_object_of_the_pod_is_gone(vec![], Some(true), true)]
#[case::the_object_of_a_working_pod_is_gone(vec![], Some(false), false)]
#[case::working(vec![mk_pod("w")], None, false)]
#[case::one_of_two(vec![done("w", PodPhase::Succeeded), mk_pod("v")], None, false)]
#[case::asked_to_stop_it_exits_with_code_0(vec![PodEvidence { phase: PodPhase::Succeeded, ..mk_pod("w") }], None, false)]
#[case::failed(vec![ended("w", CauseKind::ExitCode, 1)], None, false)]
#[case::no_pod(vec![], None, false)]
fn work_that_was_done_before_its_deletion_says_so(
    #[case] pods: Vec<PodEvidence>,
    #[case] gone: Option<bool>,
    #[case] says_so: bool,
) {
    let jobs = [
        mk_job(JobStage::Deleting { orphaning: false }),
        JobEvidence { owned: true, ..mk_job(JobStage::Vanished) },
        mk_bare(JobStage::Vanished),
    ];
    for job in jobs {
        let mut snapshot = mk_snapshot(job, pods.clone());
        snapshot.past = gone.map(|work_done| PastAttempt { work_done, ..past("w", CauseKind::Deleted, 1) });
        let data = drafter(&snapshot, &judged(&snapshot)).deleted();
        assert_eq!(data.work_may_be_done, says_so, "{data:?}");
        let message = data.message;
        assert_eq!(message.contains("Pod w had succeeded before"), says_so, "{message}");
        assert_eq!(message.ends_with("so its work may be done."), says_so, "{message}");
    }
}

/// A failed pod on a node of this kind.
fn failed_on(node: impl FnOnce(&str) -> PodEvidence) -> PodEvidence {
    PodEvidence { phase: PodPhase::Failed, ..node("w") }
}

#[rstest]
#[case::failed(OutcomeKind::Failed, mk_pod("w"), LogPlan::Read)]
#[case::lost(OutcomeKind::Lost, mk_pod("w"), LogPlan::Read)]
#[case::attempt_failed(OutcomeKind::AttemptFailed, failed_on(mk_pod), LogPlan::Read)]
#[case::succeeded(OutcomeKind::Succeeded, mk_pod("w"), LogPlan::Omit)]
#[case::suspect(OutcomeKind::Suspect, mk_pod("w"), LogPlan::Omit)]
#[case::deleted(OutcomeKind::Deleted, mk_pod("w"), LogPlan::Omit)]
#[case::node_unreachable(OutcomeKind::Lost, unreachable("w", 100), LogPlan::Unavailable(NoLogs::NodeNotAnswering))]
#[case::node_deleted(OutcomeKind::Lost, on_gone_node("w"), LogPlan::Unavailable(NoLogs::NodeNotAnswering))]
#[case::it_failed_before_its_node(OutcomeKind::Failed, failed_on(|name| unreachable(name, 100)), LogPlan::Unavailable(NoLogs::NodeNotAnswering))]
#[case::no_node(OutcomeKind::Lost, PodEvidence { node: None, ..mk_pod("w") }, LogPlan::Unavailable(NoLogs::NotStarted))]
#[case::another_pod(OutcomeKind::Lost, mk_pod("v"), LogPlan::Unavailable(NoLogs::PodGone))]
fn log_lines_belong_to_an_end_on_a_node_that_answers(
    #[case] kind: OutcomeKind,
    #[case] pod: PodEvidence,
    #[case] expected: LogPlan,
) {
    let mut snapshot = mk_snapshot(mk_job(JobStage::Open), vec![pod]);
    let plan = |snapshot: &JobSnapshot, of: Option<&str>| {
        let judgement = judged(snapshot);
        let drafter = drafter(snapshot, &judgement);
        let mut data = drafter.base(kind, Row::P8, "Reason", String::new());
        data.attempt = of.map(|name| attempt(&mk_pod(name)));
        drafter.logs(&data)
    };
    assert_eq!(plan(&snapshot, Some("w")), expected);
    assert_eq!(plan(&snapshot, None), LogPlan::Omit, "it is about no attempt");
    snapshot.policy.include_logs = false;
    assert_eq!(plan(&snapshot, Some("w")), LogPlan::Omit, "the policy says so");
}

#[test]
fn the_node_of_a_lost_pod_is_the_cause() {
    let snapshot = mk_snapshot(mk_job(JobStage::Open), vec![unreachable("w", 100)]);
    let judgement = judged(&snapshot);
    let lost = judgement.judged_pods(&snapshot.evidence, &snapshot.policy).next().expect("the Job has a pod");
    let data = drafter(&snapshot, &judgement).lost(lost, LostReason::NodeUnreachable, None);
    assert_eq!(subject(&data), ("w", Some(CauseKind::NodeLost)));
}

#[test]
fn every_reason_for_a_loss_is_recognised() {
    for word in reason::LOST {
        assert_eq!(lost_reason(word).map(LostReason::as_str), Some(word));
    }
    assert_eq!(lost_reason("BackoffLimitExceeded"), None);
}
