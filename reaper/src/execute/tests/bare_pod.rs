//! Steps on a bare pod: the verdict is a condition of the pod.

use jobwarden_core::builders::evidence::mk_bare;

use super::*;

fn bare() -> JobIdentity {
    mk_bare(JobStage::Open).identity
}

/// A running pod without a Job.
fn mk_bare_api() -> FakeApi {
    let api = mk_api();
    change(&api, POD, &json!({ "metadata": { "ownerReferences": null } }));
    api
}

fn delete_failing() -> Step {
    Step::DeletePod { pod: pod(), why: Removal::Failing }
}

#[rstest]
#[case::fail(vec![fail_job()])]
#[case::end(vec![end_job(EndReason::DeadlineExceeded)])]
#[case::a_whole_loss(vec![fail_job(), record(), delete_failing()])]
#[tokio::test]
async fn a_step_can_be_repeated_and_interrupted(#[case] steps: Vec<Step>) {
    assert_repeatable(&bare(), mk_bare_api, &steps).await;
}

#[tokio::test]
async fn a_bare_pod_gets_a_condition_and_is_then_deleted() {
    let api = mk_bare_api();
    run_for(&bare(), &api, &[fail_job()]).await;
    let live = api.get(POD).expect("the object exists");
    let verdict = condition(&live, "DisruptionTarget").expect("the condition is True");
    assert_eq!((&verdict["reason"], &verdict["message"]), (&json!("NodeUnreachable"), &json!("the pod is lost")));
    assert!(condition(&live, "Ready").is_some());
    assert_eq!((&live["status"]["phase"], &live["metadata"]["deletionTimestamp"]), (&json!("Running"), &Value::Null));

    let ran = run_for(&bare(), &api, &[delete_failing()]).await;
    assert!(ran.failure.is_none(), "{:?}", ran.failure);
    assert!(api.get(POD).expect("the object exists")["metadata"]["deletionTimestamp"].is_string());
}

#[rstest]
#[case::succeeded(json!({"status": {"phase": "Succeeded"}}))]
#[case::failed(json!({"status": {"phase": "Failed"}}))]
#[case::deleted_by_another(json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}))]
#[case::another_of_that_name(json!({"metadata": {"uid": "another"}}))]
#[tokio::test]
async fn a_bare_pod_is_not_failed_if_the_second_look_contradicts(#[case] patch: Value) {
    let api = mk_bare_api();
    change(&api, POD, &patch);
    let ran = run_for(&bare(), &api, &[fail_job(), record(), delete_failing()]).await;
    assert!(matches!(ran.failure, Some(ExecuteError::SecondLook { .. })), "{:?}", ran.failure);
    assert_eq!(api.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_bare_pod_without_our_verdict_is_not_deleted() {
    let api = mk_bare_api();
    let ran = run_for(&bare(), &api, &[delete_failing()]).await;
    assert!(matches!(ran.failure, Some(ExecuteError::SecondLook { .. })));
    assert_eq!(api.writes(), Vec::<String>::new());
}

#[rstest]
#[case::being_deleted(json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}), true)]
#[case::gone(json!({"metadata": {"uid": "another"}}), true)]
#[case::not_being_deleted(json!({}), false)]
#[case::ended_meanwhile(json!({"status": {"phase": "Succeeded"}}), false)]
#[tokio::test]
async fn a_deletion_is_confirmed_before_it_is_recorded(#[case] patch: Value, #[case] recorded: bool) {
    let api = mk_bare_api();
    change(&api, POD, &patch);
    run_for(&bare(), &api, &[Step::ConfirmDeleted, record()]).await;
    assert_eq!(api.get(FINAL).is_some(), recorded);
}

#[tokio::test]
async fn an_event_regards_the_bare_pod() {
    let api = mk_bare_api();
    let notice = Notice { pod: Some(pod()), reason: "Suspect", message: "late".to_owned() };
    run_for(&bare(), &api, &[Step::RecordEvent(notice)]).await;
    let paths = api.paths("/events/");
    let event = api.get(paths.first().expect("published")).expect("the object exists");
    let regarding = &event["regarding"];
    assert_eq!((&regarding["kind"], &regarding["name"]), (&json!("Pod"), &json!("w")));
    assert_eq!(event["related"], Value::Null);
}
