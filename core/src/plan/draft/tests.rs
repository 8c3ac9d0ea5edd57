//! Whose cause is the Job's.

use rstest::rstest;

use super::*;
use crate::{
    builders::evidence::{NOW, at, mk_job, mk_pod, mk_snapshot, unreachable},
    evidence::{Finish, JobStage},
};

/// A pod that ended `minute` minutes after something, by a cause of this kind.
fn ended(name: &str, kind: CauseKind, minute: u32) -> PodEvidence {
    let finished_at = Some(format!("2026-01-02T03:{minute:02}:00Z"));
    let cause = Cause { kind: Some(kind), reason: Some(kind.as_str().to_owned()), finished_at, ..Cause::default() };
    PodEvidence { phase: PodPhase::Failed, cause, ..mk_pod(name) }
}

fn past(name: &str, kind: CauseKind, minute: u32) -> PastAttempt {
    let pod = ended(name, kind, minute);
    PastAttempt { attempt: attempt(&pod), cause: pod.cause }
}

fn failed(reason: &str, message: &str, pods: Vec<PodEvidence>, past: Option<PastAttempt>) -> OutcomeData {
    let finish = Finish::Failed { reason: reason.to_owned(), message: message.to_owned() };
    let mut snapshot = mk_snapshot(mk_job(JobStage::Finished { since: at(NOW), finish }), pods);
    snapshot.past = past;
    Drafter { snapshot: &snapshot, now: at(NOW) }.failed(JobVerdict::Finished, reason, message)
}

fn blamed(data: &OutcomeData) -> (&str, Option<CauseKind>) {
    (data.attempt.as_ref().map_or("nobody", |attempt| &attempt.pod_name), data.cause.kind)
}

#[test]
fn the_last_attempt_to_fail_is_the_cause_in_whatever_order_they_are_known() {
    let early = ended("early", CauseKind::OomKilled, 1);
    let late = ended("late", CauseKind::ExitCode, 2);
    for pods in [vec![early.clone(), late.clone()], vec![late, early]] {
        assert_eq!(blamed(&failed("BackoffLimitExceeded", "", pods, None)), ("late", Some(CauseKind::ExitCode)));
    }
}

#[test]
fn those_that_were_deleted_because_of_it_are_not() {
    let pods = vec![ended("first", CauseKind::OomKilled, 1), ended("bystander", CauseKind::Deleted, 2)];
    assert_eq!(blamed(&failed("BackoffLimitExceeded", "", pods, None)), ("first", Some(CauseKind::OomKilled)));
}

#[test]
fn a_pod_that_is_gone_is_remembered() {
    let gone = Some(past("gone", CauseKind::OomKilled, 1));
    let data = failed("BackoffLimitExceeded", "", vec![], gone.clone());
    assert_eq!(blamed(&data), ("gone", Some(CauseKind::OomKilled)));
    let pods = vec![ended("there", CauseKind::ExitCode, 2)];
    assert_eq!(blamed(&failed("BackoffLimitExceeded", "", pods, gone)), ("there", Some(CauseKind::ExitCode)));
}

#[rstest]
#[case::what_ran_then(CauseKind::Deleted, CauseKind::DeadlineExceeded)]
#[case::what_could_not_even_start(CauseKind::ImagePullFailed, CauseKind::ImagePullFailed)]
fn a_deadline_is_about_the_last_attempt(#[case] last: CauseKind, #[case] expected: CauseKind) {
    let pods = vec![ended("first", CauseKind::OomKilled, 1), ended("last", last, 2)];
    assert_eq!(blamed(&failed("DeadlineExceeded", "too long", pods, None)), ("last", Some(expected)));
}

#[test]
fn a_policy_names_the_pod_that_matched() {
    let pods = vec![ended("w-1", CauseKind::ExitCode, 1), ended("w-2", CauseKind::ExitCode, 2)];
    let message = "Container main for pod ort/w-1 failed with exit code 3 matching FailJob rule at index 0";
    let data = failed("PodFailurePolicy", message, pods, None);
    assert_eq!(blamed(&data), ("w-1", Some(CauseKind::PodFailurePolicy)));
    assert_eq!(data.cause.message.as_deref(), Some(message));
}

#[test]
fn a_jobs_deletion_is_its_own_cause() {
    let snapshot = mk_snapshot(mk_job(JobStage::Deleting { orphaning: false }), vec![mk_pod("w")]);
    let data = Drafter { snapshot: &snapshot, now: at(NOW) }.deleted();
    assert_eq!(blamed(&data), ("w", Some(CauseKind::Deleted)));
}

#[test]
fn a_lost_pods_node_is_the_cause() {
    let pod = unreachable("w", 100);
    let snapshot = mk_snapshot(mk_job(JobStage::Open), vec![pod.clone()]);
    let data = Drafter { snapshot: &snapshot, now: at(NOW) }.lost(&pod, LostReason::NodeUnreachable);
    assert_eq!(blamed(&data), ("w", Some(CauseKind::NodeLost)));
}

#[test]
fn every_reason_of_ours_is_known_by_its_word() {
    for word in reason::LOST {
        assert_eq!(lost_reason(word).map(LostReason::as_str), Some(word));
    }
    assert_eq!(lost_reason("BackoffLimitExceeded"), None);
}
