//! The same of a bare pod: the verdict is a condition of its own.

use jobwarden_core::builders::evidence::mk_bare;

use super::*;

fn bare() -> JobIdentity {
    mk_bare(JobStage::Open).identity
}

/// A running pod without a Job.
fn bare_world() -> FakeApi {
    let api = world();
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
async fn a_step_may_be_repeated_and_may_fail_anywhere(#[case] steps: Vec<Step>) {
    may_be_repeated_and_may_fail_anywhere(&bare(), bare_world, &steps).await;
}

#[tokio::test]
async fn it_is_failed_by_a_condition_beside_the_kubelets_and_then_deleted() {
    let api = bare_world();
    run_for(&bare(), &api, &[fail_job()]).await;
    let live = api.get(POD).expect("it is there");
    let verdict = condition(&live, "DisruptionTarget").expect("it holds");
    assert_eq!((&verdict["reason"], &verdict["message"]), (&json!("NodeUnreachable"), &json!("it is lost")));
    assert!(condition(&live, "Ready").is_some());
    assert_eq!((&live["status"]["phase"], &live["metadata"]["deletionTimestamp"]), (&json!("Running"), &Value::Null));

    let ran = run_for(&bare(), &api, &[delete_failing()]).await;
    assert!(ran.failure.is_none(), "{:?}", ran.failure);
    assert!(api.get(POD).expect("it is there")["metadata"]["deletionTimestamp"].is_string());
}

#[rstest]
#[case::succeeded(json!({"status": {"phase": "Succeeded"}}))]
#[case::failed(json!({"status": {"phase": "Failed"}}))]
#[case::deleted_by_another(json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}))]
#[case::another_of_that_name(json!({"metadata": {"uid": "another"}}))]
#[tokio::test]
async fn the_second_look_keeps_from_failing_it(#[case] patch: Value) {
    let api = bare_world();
    change(&api, POD, &patch);
    let ran = run_for(&bare(), &api, &[fail_job(), record(), delete_failing()]).await;
    assert!(matches!(ran.failure, Some(ExecuteError::SecondLook { .. })), "{:?}", ran.failure);
    assert_eq!(api.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn without_our_verdict_on_it_none_is_deleted() {
    let api = bare_world();
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
async fn a_deletion_is_confirmed_before_it_is_told(#[case] patch: Value, #[case] recorded: bool) {
    let api = bare_world();
    change(&api, POD, &patch);
    run_for(&bare(), &api, &[Step::ConfirmDeleted, record()]).await;
    assert_eq!(api.get(FINAL).is_some(), recorded);
}

#[tokio::test]
async fn an_event_stands_on_the_pod() {
    let api = bare_world();
    let notice = Notice { pod: Some(pod()), reason: "Suspect", message: "late".to_owned() };
    run_for(&bare(), &api, &[Step::RecordEvent(notice)]).await;
    let paths = api.paths("/events/");
    let event = api.get(paths.first().expect("published")).expect("it is there");
    let regarding = &event["regarding"];
    assert_eq!((&regarding["kind"], &regarding["name"]), (&json!("Pod"), &json!("w")));
    assert_eq!(event["related"], Value::Null);
}
