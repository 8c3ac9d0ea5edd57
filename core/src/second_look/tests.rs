use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::builders::evidence::{identity, mk_bare};

/// A running Job, changed by a merge of `change`.
#[allow(clippy::needless_pass_by_value, reason = "reads well with json!")]
fn mk_job(change: Value) -> Job {
    let mut job = json!({
        "metadata": { "uid": "job-uid", "finalizers": ["other", FINALIZER] },
        "spec": { "template": {} },
        "status": { "startTime": "2026-01-02T03:04:05Z", "conditions": [] },
    });
    json_patch::merge(&mut job, &change);
    serde_json::from_value(job).expect("a Job")
}

fn mk_job_with(type_: &str, status: &str) -> Job {
    mk_job(json!({ "status": { "conditions": [{ "type": type_, "status": status, "reason": "NodeGone" }] } }))
}

/// A running pod of the Job, changed by a merge of `change`.
#[allow(clippy::needless_pass_by_value, reason = "reads well with json!")]
fn mk_pod(change: Value) -> Pod {
    let owner = json!({ "apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "job-uid", "controller": true });
    let mut pod = json!({
        "metadata": { "uid": "w-uid", "ownerReferences": [owner] },
        "status": { "phase": "Running" },
    });
    json_patch::merge(&mut pod, &change);
    serde_json::from_value(pod).expect("a pod")
}

fn mk_terminating(phase: &str) -> Pod {
    mk_pod(json!({ "metadata": { "deletionTimestamp": "2026-01-02T04:00:00Z" }, "status": { "phase": phase } }))
}

fn mk_orphan() -> Pod {
    mk_pod(json!({ "metadata": { "ownerReferences": null } }))
}

fn mk_with_our_verdict() -> Pod {
    let condition = json!({ "type": "DisruptionTarget", "status": "True", "reason": "NodeGone" });
    mk_pod(json!({ "status": { "conditions": [condition] } }))
}

fn bare() -> JobIdentity {
    mk_bare(crate::evidence::JobStage::Open).identity
}

#[rstest]
#[case::running(Some(mk_job(json!({}))), None)]
#[case::being_failed(Some(mk_job_with("FailureTarget", "True")), None)]
#[case::gone(None, Some(Contradiction::Gone))]
#[case::complete(Some(mk_job_with("Complete", "True")), Some(Contradiction::JobFinished))]
#[case::failed(Some(mk_job_with("Failed", "True")), Some(Contradiction::JobFinished))]
#[case::succeeding(Some(mk_job_with("SuccessCriteriaMet", "True")), Some(Contradiction::JobFinished))]
#[case::not_complete(Some(mk_job_with("Complete", "False")), None)]
#[case::suspended(Some(mk_job(json!({ "spec": { "suspend": true } }))), Some(Contradiction::Suspended))]
#[case::not_resumed_yet(Some(mk_job_with("Suspended", "True")), Some(Contradiction::Suspended))]
#[case::resumed(Some(mk_job_with("Suspended", "False")), None)]
#[case::elsewhere(Some(mk_job(json!({ "spec": { "managedBy": "example.com/c" } }))), Some(Contradiction::ManagedElsewhere))]
#[case::kubernetes(Some(mk_job(json!({ "spec": { "managedBy": KUBERNETES_JOB_CONTROLLER } }))), None)]
#[case::not_started(Some(mk_job(json!({ "status": { "startTime": null } }))), Some(Contradiction::NotStarted))]
fn a_job_is_acted_upon_only_while_it_is_open(#[case] live: Option<Job>, #[case] expected: Option<Contradiction>) {
    assert_eq!(open_job(live.as_ref()).err(), expected);
}

#[test]
fn a_verdict_is_written_once_and_never_over_another() {
    let failing = mk_job_with("FailureTarget", "True");
    assert_eq!(fail_job(&mk_job(json!({})), "NodeGone"), Ok(Proceed::Write));
    assert_eq!(fail_job(&failing, "NodeGone"), Ok(Proceed::AlreadyDone));
    assert_eq!(fail_job(&failing, "ProcessGone"), Err(Contradiction::FailingAlready));
}

#[test]
fn a_job_with_an_active_pod_is_not_failed_for_not_starting() {
    let with_pod = mk_job(json!({ "status": { "active": 1 } }));
    let without = mk_job(json!({ "status": { "active": 0 } }));
    assert_eq!(end_job(&with_pod, EndReason::NotStarting), Err(Contradiction::HasPod));
    assert_eq!(end_job(&without, EndReason::NotStarting), Ok(Proceed::Write));
    assert_eq!(end_job(&with_pod, EndReason::DeadlineExceeded), Ok(Proceed::Write));
}

#[test]
fn a_deleted_job_is_one_that_had_not_finished() {
    let deletion = json!({ "metadata": { "deletionTimestamp": "2026-01-02T04:00:00Z" } });
    let mut finished = mk_job_with("Complete", "True");
    finished.metadata.deletion_timestamp = mk_job(deletion.clone()).metadata.deletion_timestamp;
    assert_eq!(job_deleted(None), Ok(()));
    assert_eq!(job_deleted(Some(&mk_job(deletion))), Ok(()));
    assert_eq!(job_deleted(Some(&mk_job(json!({})))), Err(Contradiction::NotDeleted));
    assert_eq!(job_deleted(Some(&finished)), Err(Contradiction::JobFinished));
}

#[rstest]
#[case::running(Some(mk_pod(json!({}))), Removal::Lost, Ok(Proceed::Write))]
#[case::gone(None, Removal::Lost, Ok(Proceed::AlreadyDone))]
#[case::terminating(Some(mk_terminating("Running")), Removal::Lost, Ok(Proceed::AlreadyDone))]
#[case::ended(Some(mk_pod(json!({ "status": { "phase": "Succeeded" } }))), Removal::Lost, Err(Contradiction::PodEnded))]
#[case::orphan(Some(mk_orphan()), Removal::Lost, Err(Contradiction::NotOfThisJob))]
#[case::of_a_deleted_job(Some(mk_pod(json!({}))), Removal::JobDeleted, Ok(Proceed::Write))]
#[case::orphan_of_a_deleted_job(Some(mk_orphan()), Removal::JobDeleted, Ok(Proceed::AlreadyDone))]
#[case::failing(Some(mk_with_our_verdict()), Removal::Failing, Ok(Proceed::Write))]
#[case::without_verdict(Some(mk_pod(json!({}))), Removal::Failing, Err(Contradiction::WithoutOurVerdict))]
fn a_pod_is_deleted_only_while_it_runs(#[case] live: Option<Pod>, #[case] why: Removal, #[case] expected: Answer) {
    assert_eq!(delete_pod(&identity(), live.as_ref(), why), expected);
}

#[rstest]
#[case::gone(None, Ok(Proceed::AlreadyDone), Ok(Proceed::AlreadyDone))]
#[case::running(Some(mk_pod(json!({}))), Err(Contradiction::NotDeleted), Err(Contradiction::NotDeleted))]
#[case::terminating(Some(mk_terminating("Running")), Ok(Proceed::Write), Err(Contradiction::PodNotEnded))]
#[case::failed(Some(mk_terminating("Failed")), Ok(Proceed::AlreadyDone), Ok(Proceed::Write))]
fn a_pod_is_marked_failed_while_it_terminates_and_removed_after_that(
    #[case] live: Option<Pod>,
    #[case] marked: Answer,
    #[case] removed: Answer,
) {
    assert_eq!(mark_pod_failed(live.as_ref()), marked);
    assert_eq!(force_delete_pod(live.as_ref()), removed);
}

#[test]
fn a_job_is_deleted_only_after_it_has_finished() {
    let mut deleting = mk_job_with("Complete", "True");
    deleting.metadata.deletion_timestamp = mk_terminating("Running").metadata.deletion_timestamp;
    assert_eq!(delete_job(None), Ok(Proceed::AlreadyDone));
    assert_eq!(delete_job(Some(&mk_job(json!({})))), Err(Contradiction::JobNotFinished));
    assert_eq!(delete_job(Some(&mk_job_with("Failed", "True"))), Ok(Proceed::Write));
    assert_eq!(delete_job(Some(&deleting)), Ok(Proceed::AlreadyDone));
}

#[test]
fn only_the_own_finalizer_is_released() {
    assert_eq!(released_finalizers(Some(&mk_job(json!({})))), Some(vec!["other".to_owned()]));
    assert_eq!(released_finalizers(Some(&mk_job(json!({ "metadata": { "finalizers": ["other"] } })))), None);
    assert_eq!(released_finalizers(None), None);
}

#[rstest]
#[case::running(Some(mk_orphan()), Ok(Proceed::Write))]
#[case::gone(None, Err(Contradiction::Gone))]
#[case::ended(Some(mk_pod(json!({ "status": { "phase": "Failed" } }))), Err(Contradiction::PodEnded))]
#[case::terminating(Some(mk_terminating("Running")), Err(Contradiction::BeingDeleted))]
#[case::already(Some(mk_with_our_verdict()), Ok(Proceed::AlreadyDone))]
fn a_bare_pod_is_failed_only_while_it_runs(#[case] live: Option<Pod>, #[case] expected: Answer) {
    assert_eq!(fail_bare_pod(&bare(), live.as_ref(), "NodeGone"), expected);
}

#[test]
fn another_verdict_on_a_bare_pod_stands() {
    let answer = fail_bare_pod(&bare(), Some(&mk_with_our_verdict()), "ProcessGone");
    assert_eq!(answer, Err(Contradiction::FailingAlready));
}

#[test]
fn a_deleted_bare_pod_is_one_that_had_not_ended() {
    assert_eq!(bare_pod_deleted(&bare(), None), Ok(()));
    assert_eq!(bare_pod_deleted(&bare(), Some(&mk_terminating("Running"))), Ok(()));
    assert_eq!(bare_pod_deleted(&bare(), Some(&mk_terminating("Failed"))), Err(Contradiction::PodEnded));
    assert_eq!(bare_pod_deleted(&bare(), Some(&mk_orphan())), Err(Contradiction::NotDeleted));
}
