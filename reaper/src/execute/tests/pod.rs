//! Steps on a pod.

use super::*;

#[tokio::test]
async fn another_pod_with_the_same_name_is_not_changed() {
    for step in [fail_job(), delete_pod(), mark_pod_failed(), Step::ForceDeletePod { pod: pod() }] {
        let api = mk_api();
        change(&api, POD, &json!({"metadata": {"uid": "another", "deletionTimestamp": "2026-01-02T03:04:05Z"}}));
        run(&api, &[step]).await;
        assert_eq!(api.writes(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_pod_that_is_not_terminating_is_not_marked_failed() {
    let api = mk_api();
    let ran = run(&api, &[mark_pod_failed(), Step::ForceDeletePod { pod: pod() }]).await;
    assert!(matches!(ran.failure, Some(ExecuteError::SecondLook { .. })));
    assert_eq!(api.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_pod_that_is_not_failed_is_not_force_deleted() {
    let api = mk_api();
    change(&api, POD, &json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}));
    let ran = run(&api, &[Step::ForceDeletePod { pod: pod() }]).await;
    assert!(matches!(ran.failure, Some(ExecuteError::SecondLook { .. })));
    assert!(api.get(POD).is_some());
}

#[tokio::test]
async fn a_pod_on_a_gone_node_is_deleted_abandoned_and_removed() {
    let api = mk_api();
    let ran = run(&api, &planned(retrying(Retries::Left), on_gone_node("w"))).await;
    assert!(ran.failure.is_none());
    assert!(api.get(POD).is_none());
    assert_eq!(api.get(ATTEMPT).expect("recorded")["spec"]["kind"], "attempt_failed");
    assert!(api.get(FINAL).is_none(), "the Job continues");
    assert_eq!(ran.report.abandoned, [PodUid::from("w-uid")]);
}

#[tokio::test]
async fn an_unfenced_pod_is_deleted_gracefully_only() {
    let api = mk_api();
    run(&api, &planned(retrying(Retries::Left), unreachable("w", 100))).await;
    let pod = api.get(POD).expect("its object stays");
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(pod["status"]["phase"], "Running");
}

#[tokio::test]
async fn an_unreachable_pod_of_a_failing_job_is_marked_failed_with_our_reason() {
    let api = mk_api();
    change(&api, POD, &json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}));
    let stage = JobStage::Failing { reason: "NodeUnreachable".to_owned(), message: "the pod is lost".to_owned() };
    run(&api, &planned(mk_job(stage), terminating(unreachable("w", 100), NOW - 5))).await;
    let pod = api.get(POD).expect("its object stays because the node may come back");
    assert_eq!((&pod["status"]["phase"], &pod["status"]["reason"]), (&json!("Failed"), &json!("NodeUnreachable")));
    assert_eq!(condition(&pod, "DisruptionTarget").expect("the condition is True")["reason"], "NodeUnreachable");
    assert!(condition(&pod, "Ready").is_some());
    assert_eq!(api.get(FINAL).expect("recorded")["spec"]["kind"], "lost");
}

#[tokio::test]
async fn a_pod_that_the_deleted_job_does_not_own_is_not_deleted() {
    let api = mk_api();
    change(&api, POD, &json!({"metadata": {"ownerReferences": null}}));
    let ran = run(&api, &[Step::DeletePod { pod: pod(), why: Removal::JobDeleted }]).await;
    assert!(ran.failure.is_none());
    assert!(api.get(POD).expect("the object exists")["metadata"]["deletionTimestamp"].is_null());
}

#[tokio::test]
async fn a_failed_step_on_a_pod_prevents_steps_on_the_job_but_not_on_other_pods() {
    let api = mk_api();
    change(&api, POD, &json!({"status": {"phase": "Succeeded"}}));
    let other = "/api/v1/namespaces/ort/pods/v";
    let mut object = api.get(POD).expect("the object exists");
    object["metadata"]["uid"] = json!("v-uid");
    object["status"]["phase"] = json!("Running");
    api.put(other, object);
    let v = PodRef { uid: PodUid::from("v-uid"), name: "v".to_owned() };
    let steps = [delete_pod(), Step::DeletePod { pod: v, why: Removal::Lost }, Step::ReleaseFinalizer];
    let ran = run(&api, &steps).await;
    assert!(ran.failure.is_some());
    assert_eq!(api.writes(), [format!("DELETE {other}")]);
}
