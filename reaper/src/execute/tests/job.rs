//! Steps on a Job.

use super::*;

#[tokio::test]
async fn failing_a_job_adds_a_condition_and_keeps_the_others() {
    let api = mk_api();
    run(&api, &[fail_job()]).await;
    let job = api.get(JOB).expect("the object exists");
    let target = condition(&job, "FailureTarget").expect("the condition is True");
    assert_eq!((&target["reason"], &target["message"]), (&json!("NodeUnreachable"), &json!("the pod is lost")));
    assert!(condition(&job, "Whatever").is_some());
    assert!(condition(&job, "Failed").is_none(), "only the Job controller writes Failed");
}

#[tokio::test]
async fn fail_with_active_deadline_sets_a_deadline() {
    let api = mk_api();
    let (report, _) = executor(&api, FailWith::ActiveDeadline).run_steps(&identity(), vec![fail_job(), record()]).await;
    assert!(!report.failed);
    let job = api.get(JOB).expect("the object exists");
    assert_eq!(job["spec"]["activeDeadlineSeconds"], 1);
    assert!(condition(&job, "FailureTarget").is_none());
}

#[rstest]
#[case::overdue(json!({"status": {"active": 1}}), EndReason::DeadlineExceeded, true)]
#[case::without_a_pod(json!({"status": {"active": 0}}), EndReason::NotStarting, true)]
#[case::a_pod_came(json!({"status": {"active": 1}}), EndReason::NotStarting, false)]
#[case::suspended(json!({"spec": {"suspend": true}}), EndReason::DeadlineExceeded, false)]
#[case::resumed(json!({"status": {"startTime": "2026-01-02T04:04:05Z"}}), EndReason::DeadlineExceeded, false)]
#[case::finished(finished(), EndReason::DeadlineExceeded, false)]
#[tokio::test]
async fn a_job_is_ended_only_if_the_second_look_confirms_it(
    #[case] job: Value,
    #[case] reason: EndReason,
    #[case] ends: bool,
) {
    let api = mk_api();
    change(&api, JOB, &job);
    let ran = run(&api, &[end_job(reason)]).await;
    assert_eq!(ran.failure.is_none(), ends, "{:?}", ran.failure);
    let failing = condition(&api.get(JOB).expect("the object exists"), "FailureTarget");
    assert_eq!(failing.map(|condition| condition["reason"].clone()), ends.then(|| json!(reason.as_str())));
}

/// Whatever has changed since the evidence was collected, the second look prevents the write.
#[rstest]
#[case::complete(JOB, json!({"status": {"conditions": [{"type": "Complete", "status": "True"}]}}))]
#[case::failed(JOB, finished())]
#[case::succeeding(JOB, json!({"status": {"conditions": [{"type": "SuccessCriteriaMet", "status": "True"}]}}))]
#[case::suspended(JOB, json!({"spec": {"suspend": true}}))]
#[case::managed_elsewhere(JOB, json!({"spec": {"managedBy": "kueue.x-k8s.io/multikueue"}}))]
#[case::not_started(JOB, json!({"status": {"startTime": null}}))]
#[case::another_job_of_that_name(JOB, json!({"metadata": {"uid": "another"}}))]
#[case::pod_succeeded(POD, json!({"status": {"phase": "Succeeded"}}))]
#[case::pod_failed(POD, json!({"status": {"phase": "Failed"}}))]
#[case::pod_of_another(POD, json!({"metadata": {"ownerReferences": null}}))]
#[tokio::test]
async fn nothing_is_written_if_the_second_look_contradicts(#[case] path: &str, #[case] patch: Value) {
    for step in [fail_job(), delete_pod()] {
        let api = mk_api();
        change(&api, path, &patch);
        let ran = run(&api, &[step, record(), Step::ReleaseFinalizer]).await;
        assert!(matches!(ran.failure, Some(ExecuteError::SecondLook { .. })), "{:?}", ran.failure);
        assert_eq!(api.get(JOB).map(|job| job["metadata"]["finalizers"].clone()), Some(json!(["other", FINALIZER])));
        assert_eq!(api.writes(), Vec::<String>::new(), "no outcome is recorded, no finalizer removed");
    }
}

#[rstest]
#[case::by_default(json!({}), false)]
#[case::replaced_once_it_has_ended(json!({"spec": {"podReplacementPolicy": "Failed"}}), true)]
#[tokio::test]
async fn no_job_is_failed_for_a_pod_that_kubernetes_has_replaced(#[case] job: Value, #[case] fails: bool) {
    let api = mk_api();
    change(&api, JOB, &job);
    change(&api, POD, &json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}));
    let ran = run(&api, &[fail_job(), record()]).await;
    assert_eq!(ran.failure.is_none(), fails, "{:?}", ran.failure);
    assert_eq!(api.get(FINAL).is_some(), fails);
}

#[tokio::test]
async fn a_concurrent_write_prevents_failing_the_job() {
    let api = mk_api();
    // Another client writes to the Job between our read and our write.
    let shared = api.clone();
    let steps = [record(), fail_job()];
    api.after(0, move |objects| {
        let job = objects.get_mut(JOB).expect("the object exists");
        job["status"]["conditions"] = json!([{ "type": "SuccessCriteriaMet", "status": "True" }]);
    });
    let ran = run(&shared, &steps).await;
    assert!(ran.failure.is_some());
    assert!(condition(&api.get(JOB).expect("the object exists"), "FailureTarget").is_none());
}

#[tokio::test]
async fn a_stale_resource_version_is_a_conflict() {
    let source = kube::Error::Api(Box::new(kube::core::Status::failure("changed", "Conflict").with_code(409)));
    let error = ExecuteError::api("fail", "Job ort/j".to_owned(), source);
    assert!(matches!(error, ExecuteError::Conflict { .. }));
    assert_eq!(error.to_string(), "cannot fail Job ort/j: conflict, it was modified concurrently");
}

#[tokio::test]
async fn an_outcome_mentions_a_pod_that_succeeded_meanwhile() {
    let api = mk_api();
    api.after(0, |objects| objects.get_mut(POD).expect("the object exists")["status"]["phase"] = json!("Succeeded"));
    let ran = run(&api, &[fail_job(), record()]).await;
    assert!(ran.failure.is_none());
    let outcome = api.get(FINAL).expect("recorded");
    let message = outcome["spec"]["data"]["message"].as_str().expect("a message");
    assert!(message.ends_with("Pod w succeeded in the same moment: its work may be done."), "{message}");
    assert_eq!(outcome["spec"]["data"]["workMayBeDone"], true);
}

#[rstest]
#[case::being_deleted(Some(json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}})), true)]
#[case::another_of_that_name(Some(json!({"metadata": {"uid": "another"}})), true)]
#[case::not_being_deleted(Some(json!({})), false)]
#[case::finished_meanwhile(Some(json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}})), false)]
#[tokio::test]
async fn a_deletion_is_confirmed_before_it_is_recorded(#[case] patch: Option<Value>, #[case] recorded: bool) {
    let api = mk_api();
    change(&api, JOB, &patch.unwrap_or_default());
    let ran = run(&api, &[Step::ConfirmDeleted, record(), Step::Forget]).await;
    assert_eq!((api.get(FINAL).is_some(), ran.report.forget), (recorded, recorded));
}

/// For the watch, a Job without our label is gone; the backfill releases it.
#[rstest]
#[case::it(json!({"metadata": {"labels": {"jobwarden.io/inject": "false"}}}))]
#[case::its_template(json!({"spec": {"template": {"metadata": {"labels": {"jobwarden.io/inject": "false"}}}}}))]
#[case::and_is_being_deleted(json!({"metadata": {
    "labels": {"jobwarden.io/inject": "false"}, "deletionTimestamp": "2026-01-02T03:04:05Z"
}}))]
#[tokio::test]
async fn a_job_that_lost_its_label_and_opted_out_at_once_is_forgotten_and_not_reported(#[case] patch: Value) {
    let api = mk_api();
    change(&api, JOB, &patch);
    let ran = run(&api, &[Step::ConfirmDeleted, record(), Step::Forget]).await;
    assert!(ran.report.forget && api.get(FINAL).is_none());
}

#[tokio::test]
async fn only_our_finalizer_is_removed() {
    let api = mk_api();
    run(&api, &[Step::ReleaseFinalizer]).await;
    assert_eq!(api.get(JOB).expect("the object exists")["metadata"]["finalizers"], json!(["other"]));
}

#[tokio::test]
async fn an_unfinished_job_is_never_deleted() {
    let api = mk_api();
    let ran = run(&api, &[Step::DeleteJob]).await;
    assert!(matches!(ran.failure, Some(ExecuteError::SecondLook { .. })));
    assert_eq!(api.writes(), Vec::<String>::new());
}
