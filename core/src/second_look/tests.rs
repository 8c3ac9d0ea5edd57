//! Every function with the objects that allow the write, that need none, and that contradict it.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::builders::evidence::{identity, mk_bare};

const WRITE: Answer = Ok(Proceed::Write);
const DONE: Answer = Ok(Proceed::AlreadyDone);

/// An open Job that the Job controller has started, with some fields changed.
fn job(change: &Value) -> Job {
    let mut job = json!({
        "metadata": { "namespace": "ort", "name": "analyzer-7", "uid": "job-uid" },
        "spec": { "template": {} },
        "status": { "startTime": "2026-01-02T03:04:05Z", "active": 1 }
    });
    json_patch::merge(&mut job, change);
    serde_json::from_value(job).expect("a Job")
}

/// A Job with this condition.
fn job_with(type_: &str, reason: &str) -> Job {
    job(&json!({"status": {"conditions": [{ "type": type_, "status": "True", "reason": reason }]}}))
}

/// A running pod of that Job, with some fields changed.
fn pod(change: &Value) -> Pod {
    let mut pod = json!({
        "metadata": {
            "namespace": "ort", "name": "w", "uid": "w-uid",
            "ownerReferences": [owner("job-uid", true)]
        },
        "status": { "phase": "Running" }
    });
    json_patch::merge(&mut pod, change);
    serde_json::from_value(pod).expect("a pod")
}

fn owner(uid: &str, controller: bool) -> Value {
    json!({ "apiVersion": "batch/v1", "kind": "Job", "name": "analyzer-7", "uid": uid, "controller": controller })
}

fn deleted() -> Value {
    json!({"metadata": {"deletionTimestamp": "2026-01-02T03:05:05Z"}})
}

fn phase(phase: &str) -> Value {
    json!({"status": {"phase": phase}})
}

fn verdict_of(reason: &str) -> Value {
    json!({"status": {"conditions": [{ "type": "DisruptionTarget", "status": "True", "reason": reason }]}})
}

fn both(mut one: Value, other: &Value) -> Value {
    json_patch::merge(&mut one, other);
    one
}

fn bare() -> JobIdentity {
    mk_bare(crate::evidence::JobStage::Open).identity
}

#[rstest]
#[case::open(Some(job(&json!({}))), None)]
#[case::managed_by_kubernetes(Some(job(&json!({"spec": {"managedBy": "kubernetes.io/job-controller"}}))), None)]
#[case::resumed(Some(job(&json!({"spec": {"suspend": false}}))), None)]
#[case::being_failed(Some(job_with("FailureTarget", "NodeGone")), None)]
#[case::gone(None, Some(Contradiction::Gone))]
#[case::complete(Some(job_with("Complete", "")), Some(Contradiction::JobFinished))]
#[case::failed(Some(job_with("Failed", "")), Some(Contradiction::JobFinished))]
#[case::succeeding(Some(job_with("SuccessCriteriaMet", "")), Some(Contradiction::JobFinished))]
#[case::suspended(Some(job(&json!({"spec": {"suspend": true}}))), Some(Contradiction::Suspended))]
#[case::not_resumed_yet(Some(job_with("Suspended", "JobSuspended")), Some(Contradiction::Suspended))]
#[case::of_kueue(Some(job(&json!({"spec": {"managedBy": "kueue"}}))), Some(Contradiction::ManagedElsewhere))]
#[case::not_started(Some(job(&json!({"status": {"startTime": null}}))), Some(Contradiction::NotStarted))]
#[case::without_status(Some(job(&json!({"status": null}))), Some(Contradiction::NotStarted))]
fn only_an_open_job_is_acted_on(#[case] live: Option<Job>, #[case] contradiction: Option<Contradiction>) {
    assert_eq!(open_job(live.as_ref()).err(), contradiction);
}

#[test]
fn a_condition_that_is_not_true_does_not_count() {
    let complete = json!({"status": {"conditions": [{ "type": "Complete", "status": "False", "reason": "" }]}});
    assert!(open_job(Some(&job(&complete))).is_ok());
}

#[rstest]
#[case::open(job(&json!({})), WRITE)]
#[case::failed_already_by_us(job_with("FailureTarget", "NodeGone"), DONE)]
#[case::failed_by_kubernetes(job_with("FailureTarget", "BackoffLimitExceeded"), Err(Contradiction::FailingAlready))]
fn a_job_is_failed_unless_another_reason_fails_it(#[case] live: Job, #[case] expected: Answer) {
    assert_eq!(fail_job(&live, "NodeGone"), expected);
}

fn started() -> Option<Timestamp> {
    "2026-01-02T03:04:05Z".parse().ok()
}

#[rstest]
#[case::as_ever(json!({"status": {"active": 0}}), WRITE, WRITE)]
#[case::resumed(
    json!({"status": {"active": 0, "startTime": "2026-01-02T04:00:00Z"}}),
    Err(Contradiction::StartedAgain),
    WRITE
)]
fn a_job_that_was_resumed_is_not_overdue(#[case] change: Value, #[case] overdue: Answer, #[case] not_starting: Answer) {
    assert_eq!(end_job(&job(&change), EndReason::DeadlineExceeded, started()), overdue);
    assert_eq!(end_job(&job(&change), EndReason::NotStarting, started()), not_starting);
}

#[rstest]
#[case::counted_when_it_is_deleted(json!({}), Err(Contradiction::Dropped))]
#[case::by_default(json!({"spec": {"podReplacementPolicy": "TerminatingOrFailed"}}), Err(Contradiction::Dropped))]
#[case::counted_when_it_has_ended(json!({"spec": {"podReplacementPolicy": "Failed"}, "status": {"active": 0}}), Ok(()))]
#[case::another_runs(json!({"spec": {"podReplacementPolicy": "Failed"}}), Err(Contradiction::Dropped))]
#[case::scaled_away(
    json!({"spec": {"podReplacementPolicy": "Failed", "parallelism": 0}, "status": {"active": 0}}),
    Err(Contradiction::Dropped)
)]
fn a_job_is_failed_for_a_deleted_pod_only_if_its_controller_counts_on_it(
    #[case] change: Value,
    #[case] expected: Result<(), Contradiction>,
) {
    let job = job(&change);
    assert_eq!(lost_pod(&identity(), &job, Some(&pod(&deleted()))), expected);
    assert_eq!(lost_pod(&identity(), &job, Some(&pod(&json!({})))), Ok(()), "it is not being deleted");
    assert_eq!(lost_pod(&identity(), &job, Some(&pod(&phase("Failed")))), Err(Contradiction::PodEnded));
    assert_eq!(lost_pod(&identity(), &job, None), Err(Contradiction::Gone));
}

#[rstest]
#[case::without_a_pod(job(&json!({"status": {"active": 0}})), EndReason::NotStarting, WRITE)]
#[case::pods_not_counted(job(&json!({"status": {"active": null}})), EndReason::NotStarting, WRITE)]
#[case::got_a_pod(job(&json!({})), EndReason::NotStarting, Err(Contradiction::HasPod))]
#[case::overdue_with_a_pod(job(&json!({})), EndReason::DeadlineExceeded, WRITE)]
#[case::ended_already(job_with("FailureTarget", "NotStarting"), EndReason::NotStarting, DONE)]
#[case::failed_for_another_reason(
    job_with("FailureTarget", "NodeGone"),
    EndReason::NotStarting,
    Err(Contradiction::FailingAlready)
)]
fn a_job_without_a_lost_pod_is_ended(#[case] live: Job, #[case] reason: EndReason, #[case] expected: Answer) {
    assert_eq!(end_job(&live, reason, started()), expected);
}

#[rstest]
#[case::running(Some(pod(&json!({}))), WRITE)]
#[case::gone(None, Err(Contradiction::Gone))]
#[case::failed_already_by_us(Some(pod(&verdict_of("NodeGone"))), DONE)]
#[case::failed_by_us_and_ended(Some(pod(&both(verdict_of("NodeGone"), &phase("Failed")))), DONE)]
#[case::failed_for_another_reason(Some(pod(&verdict_of("Stalled"))), Err(Contradiction::FailingAlready))]
#[case::disrupted_by_kubernetes(Some(pod(&verdict_of("EvictionByEvictionAPI"))), WRITE)]
#[case::ended(Some(pod(&phase("Succeeded"))), Err(Contradiction::PodEnded))]
#[case::being_deleted(Some(pod(&deleted())), Err(Contradiction::BeingDeleted))]
fn only_a_running_bare_pod_gets_a_verdict(#[case] live: Option<Pod>, #[case] expected: Answer) {
    assert_eq!(fail_bare_pod(&bare(), live.as_ref(), "NodeGone"), expected);
}

#[rstest]
#[case::gone(None, None)]
#[case::being_deleted(Some(job(&deleted())), None)]
#[case::exists(Some(job(&json!({}))), Some(Contradiction::NotDeleted))]
#[case::complete(Some(job_deleted_with("Complete")), Some(Contradiction::JobFinished))]
#[case::failed(Some(job_deleted_with("Failed")), Some(Contradiction::JobFinished))]
#[case::succeeding(Some(job_deleted_with("SuccessCriteriaMet")), None)]
#[case::opted_out(Some(job(&opted_out())), Some(Contradiction::OptedOut))]
#[case::opted_out_by_its_template(
    Some(job(&json!({"spec": {"template": opted_out()}}))), Some(Contradiction::OptedOut)
)]
#[case::opted_out_and_being_deleted(Some(job(&both(opted_out(), &deleted()))), Some(Contradiction::OptedOut))]
fn a_job_counts_as_deleted_only_if_it_had_not_finished(
    #[case] live: Option<Job>,
    #[case] contradiction: Option<Contradiction>,
) {
    assert_eq!(job_deleted(live.as_ref()).err(), contradiction);
}

fn opted_out() -> Value {
    json!({"metadata": {"labels": {"jobwarden.io/inject": "false"}}})
}

fn job_deleted_with(condition: &str) -> Job {
    let mut job = job_with(condition, "");
    job.metadata.deletion_timestamp = self::job(&deleted()).metadata.deletion_timestamp;
    job
}

#[rstest]
#[case::gone(None, None)]
#[case::being_deleted(Some(pod(&deleted())), None)]
#[case::exists(Some(pod(&json!({}))), Some(Contradiction::NotDeleted))]
#[case::ended(Some(pod(&both(deleted(), &phase("Failed")))), Some(Contradiction::PodEnded))]
fn a_bare_pod_counts_as_deleted_only_if_it_had_not_ended(
    #[case] live: Option<Pod>,
    #[case] contradiction: Option<Contradiction>,
) {
    assert_eq!(bare_pod_deleted(&bare(), live.as_ref()).err(), contradiction);
}

#[rstest]
#[case::controlled(json!({}), None)]
#[case::pending(phase("Pending"), None)]
#[case::without_status(json!({"status": null}), None)]
#[case::succeeded(phase("Succeeded"), Some(Contradiction::PodEnded))]
#[case::failed(phase("Failed"), Some(Contradiction::PodEnded))]
#[case::orphaned(json!({"metadata": {"ownerReferences": null}}), Some(Contradiction::NotOfThisJob))]
#[case::of_another_job(
    json!({"metadata": {"ownerReferences": [owner("other", true)]}}), Some(Contradiction::NotOfThisJob)
)]
#[case::owned_but_not_controlled(
    json!({"metadata": {"ownerReferences": [owner("job-uid", false)]}}), Some(Contradiction::NotOfThisJob)
)]
#[case::second_owner(json!({"metadata": {"ownerReferences": [owner("other", false), owner("job-uid", true)]}}), None)]
fn a_running_pod_belongs_to_the_job_that_controls_it(
    #[case] change: Value,
    #[case] contradiction: Option<Contradiction>,
) {
    assert_eq!(running_pod(&identity(), &pod(&change)).err(), contradiction);
}

#[test]
fn a_bare_pod_needs_no_controller() {
    assert_eq!(running_pod(&bare(), &pod(&json!({"metadata": {"ownerReferences": null}}))), Ok(()));
}

#[rstest]
#[case::lost(Some(json!({})), Removal::Lost, WRITE)]
#[case::of_a_deleted_job(Some(json!({})), Removal::JobDeleted, WRITE)]
#[case::with_our_verdict(Some(verdict_of("NodeGone")), Removal::Failing, WRITE)]
#[case::without_our_verdict(Some(json!({})), Removal::Failing, Err(Contradiction::WithoutOurVerdict))]
#[case::lost_but_ended(Some(phase("Failed")), Removal::Lost, Err(Contradiction::PodEnded))]
#[case::of_a_deleted_job_and_ended(Some(phase("Failed")), Removal::JobDeleted, DONE)]
#[case::with_our_verdict_and_ended(Some(phase("Failed")), Removal::Failing, DONE)]
#[case::gone(None, Removal::Lost, DONE)]
#[case::being_deleted(Some(deleted()), Removal::Lost, DONE)]
fn a_pod_is_deleted_for_a_reason_that_still_holds(
    #[case] live: Option<Value>,
    #[case] why: Removal,
    #[case] expected: Answer,
) {
    let live = live.map(|change| pod(&change));
    assert_eq!(delete_pod(&identity(), live.as_ref(), why), expected);
}

#[rstest]
#[case::terminating(Some(deleted()), WRITE)]
#[case::not_terminating(Some(json!({})), Err(Contradiction::NotDeleted))]
#[case::ended(Some(both(deleted(), &phase("Failed"))), DONE)]
#[case::gone(None, DONE)]
fn only_a_terminating_pod_is_marked_failed(#[case] live: Option<Value>, #[case] expected: Answer) {
    let live = live.map(|change| pod(&change));
    assert_eq!(mark_pod_failed(live.as_ref()), expected);
}

#[rstest]
#[case::ended_and_terminating(Some(both(deleted(), &phase("Failed"))), WRITE)]
#[case::ended_but_not_deleted(Some(phase("Failed")), Err(Contradiction::NotDeleted))]
#[case::still_running(Some(deleted()), Err(Contradiction::PodNotEnded))]
#[case::gone(None, DONE)]
fn only_a_terminating_pod_that_has_ended_is_force_deleted(#[case] live: Option<Value>, #[case] expected: Answer) {
    let live = live.map(|change| pod(&change));
    assert_eq!(force_delete_pod(live.as_ref()), expected);
}

#[rstest]
#[case::finished(Some(job_with("Complete", "")), WRITE)]
#[case::open(Some(job(&json!({}))), Err(Contradiction::JobNotFinished))]
#[case::being_deleted(Some(job_deleted_with("Failed")), DONE)]
#[case::gone(None, DONE)]
fn only_a_finished_job_is_deleted(#[case] live: Option<Job>, #[case] expected: Answer) {
    assert_eq!(delete_job(live.as_ref()), expected);
}

#[rstest]
#[case::ours(Some(json!([FINALIZER])), Some(vec![]))]
#[case::ours_among_others(Some(json!(["a", FINALIZER, "b"])), Some(vec!["a", "b"]))]
#[case::only_others(Some(json!(["a"])), None)]
#[case::none(None, None)]
fn only_our_finalizer_is_removed(#[case] finalizers: Option<Value>, #[case] expected: Option<Vec<&str>>) {
    let live = job(&json!({"metadata": {"finalizers": finalizers}}));
    let expected = expected.map(|kept| kept.into_iter().map(str::to_owned).collect());
    assert_eq!(released_finalizers(Some(&live)), expected);
}

#[test]
fn a_job_that_is_gone_has_no_finalizer() {
    assert_eq!(released_finalizers(None), None);
}
