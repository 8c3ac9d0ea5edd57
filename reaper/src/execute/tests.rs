//! Every step is taken once, twice, and with each of its writes failing before or after it is done: what is left is always
//! the same.

use jobwarden_common::{identity::PodUid, names::FINALIZER, notification::OutcomeKind};
use jobwarden_core::{
    builders::evidence::{NOW, at, identity, judged, mk_job, mk_snapshot, on_gone_node, terminating, unreachable},
    evidence::{JobEvidence, JobStage, PodEvidence, Retries},
    outcome::OutcomeName,
    plan::{
        plan,
        step::{Draft, Notice, PodRef, Recorded, Removal},
    },
    reconcile::StepReport,
    verdict::{EndReason, LostReason},
};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    fake_api::{Failure, FakeApi},
    outbox::object::tests::mk_data,
};

mod bare;

const JOB: &str = "/apis/batch/v1/namespaces/ort/jobs/analyzer-7";
const POD: &str = "/api/v1/namespaces/ort/pods/w";
const FINAL: &str = "/apis/jobwarden.io/v1alpha1/namespaces/jobwarden/joboutcomes/job-uid.final";
const ATTEMPT: &str = "/apis/jobwarden.io/v1alpha1/namespaces/jobwarden/joboutcomes/w-uid.attempt-failed";

/// A running Job and its worker pod.
fn world() -> FakeApi {
    let api = FakeApi::default();
    api.put(
        JOB,
        json!({
            "metadata": { "namespace": "ort", "uid": "job-uid", "finalizers": ["other", FINALIZER] },
            "spec": { "template": { "spec": { "containers": [] } } },
            "status": {
                "startTime": "2026-01-02T03:04:05Z",
                "conditions": [{ "type": "Whatever", "status": "True" }]
            }
        }),
    );
    let owner = json!([{ "apiVersion": "batch/v1", "kind": "Job", "name": "analyzer-7", "uid": "job-uid", "controller": true }]);
    api.put(
        POD,
        json!({
            "metadata": { "namespace": "ort", "ownerReferences": owner },
            "spec": { "containers": [] },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] }
        }),
    );
    api
}

fn change(api: &FakeApi, path: &str, patch: &Value) {
    let mut object = api.get(path).expect("it is there");
    json_patch::merge(&mut object, patch);
    api.put(path, object);
}

fn executor(api: &FakeApi, fail_with: FailWith) -> Executor {
    let sinks = vec!["ort".to_owned()];
    Executor::new(api.client(), "jobwarden", "reaper-0".to_owned(), Outbox::new(), sinks, fail_with, Metrics::default())
}

pub(super) fn executor_of(api: &FakeApi) -> Executor {
    executor(api, FailWith::FailureTarget)
}

/// What came of some steps.
struct Ran {
    report: StepReport,
    failure: Option<ExecuteError>,
}

async fn run(api: &FakeApi, steps: &[Step]) -> Ran {
    run_for(&identity(), api, steps).await
}

async fn run_for(job: &JobIdentity, api: &FakeApi, steps: &[Step]) -> Ran {
    let (report, failure) = executor(api, FailWith::FailureTarget).run_steps(job, steps.to_vec()).await;
    Ran { report, failure }
}

fn pod() -> PodRef {
    PodRef { uid: PodUid::from("w-uid"), name: "w".to_owned() }
}

fn fail_job() -> Step {
    Step::FailJob { pod: pod(), reason: LostReason::NodeUnreachable, message: "it is lost".to_owned() }
}

fn end_job(reason: EndReason) -> Step {
    Step::EndJob { reason, message: "it is over".to_owned() }
}

fn delete_pod() -> Step {
    Step::DeletePod { pod: pod(), why: Removal::Lost }
}

fn mark_pod_failed() -> Step {
    Step::MarkPodFailed { pod: pod(), reason: LostReason::NodeUnreachable, message: "it is lost".to_owned() }
}

fn record() -> Step {
    Step::Record(Box::new(Draft { name: OutcomeName::job_final(&"job-uid".into()), data: mk_data() }))
}

fn condition(object: &Value, type_: &str) -> Option<Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_ && condition["status"] == "True").cloned()
}

fn finished() -> Value {
    json!({ "status": { "conditions": [{ "type": "Failed", "status": "True", "reason": "NodeUnreachable" }] } })
}

/// The plan of a whole loss, as the planner makes it.
fn planned(job: JobEvidence, pod: PodEvidence) -> Vec<Step> {
    let snapshot = mk_snapshot(job, vec![pod]);
    let steps = plan(&snapshot, &judged(&snapshot), None, &Recorded::default(), at(NOW));
    // An Event is told at least once and bears the time in its name; it is not part of the state.
    steps.into_iter().filter(|step| !matches!(step, Step::RecordEvent(_))).collect()
}

fn retrying(retries: Retries) -> JobEvidence {
    JobEvidence { retries, ..mk_job(JobStage::Open) }
}

fn without_times(mut objects: std::collections::BTreeMap<String, Value>) -> std::collections::BTreeMap<String, Value> {
    for object in objects.values_mut().filter(|object| object["kind"] == "JobOutcome") {
        object["spec"]["createdAt"] = Value::Null;
        // The timeline tells what was done by those who lived to record it.
        object["spec"]["data"]["timeline"] = Value::Null;
    }
    objects
}

/// Each step from where it can be taken.
#[rstest]
#[case::fail_job(json!({}), json!({}), vec![fail_job()])]
#[case::end_job(json!({}), json!({}), vec![end_job(EndReason::DeadlineExceeded)])]
#[case::delete_pod(json!({}), json!({}), vec![delete_pod()])]
#[case::mark_pod_failed(json!({}), json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}), vec![mark_pod_failed()])]
#[case::force_delete_pod(
    json!({}),
    json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}, "status": {"phase": "Failed"}}),
    vec![Step::ForceDeletePod { pod: pod() }]
)]
#[case::record(json!({}), json!({}), vec![record()])]
#[case::release_finalizer(json!({}), json!({}), vec![Step::ReleaseFinalizer])]
#[case::delete_job(finished(), json!({}), vec![Step::DeleteJob])]
#[case::a_whole_loss(json!({}), json!({}), planned(retrying(Retries::Exhausted), unreachable("w", 100)))]
#[case::a_whole_retry(json!({}), json!({}), planned(retrying(Retries::Left), on_gone_node("w")))]
#[tokio::test]
async fn a_step_may_be_repeated_and_may_fail_anywhere(
    #[case] job: Value,
    #[case] worker: Value,
    #[case] steps: Vec<Step>,
) {
    let world = || {
        let api = world();
        change(&api, JOB, &job);
        change(&api, POD, &worker);
        api
    };
    may_be_repeated_and_may_fail_anywhere(&identity(), world, &steps).await;
}

async fn may_be_repeated_and_may_fail_anywhere(job: &JobIdentity, world: impl Fn() -> FakeApi, steps: &[Step]) {
    let once = world();
    let untouched = once.snapshot();
    let ran = run_for(job, &once, steps).await;
    assert!(ran.failure.is_none(), "{:?}", ran.failure);
    let writes = once.writes().len();
    let expected = without_times(once.snapshot());
    assert_ne!(expected, without_times(untouched), "the step does something");

    let ran = run_for(job, &once, steps).await;
    assert!(ran.failure.is_none(), "the second time: {:?}", ran.failure);
    assert_eq!(without_times(once.snapshot()), expected, "the second time changes nothing");

    for failing in 0..writes {
        for failure in [Failure::Before, Failure::After] {
            let api = world();
            api.fail(failing, failure);
            let ran = run_for(job, &api, steps).await;
            assert!(ran.failure.is_some(), "write {failing} fails {failure:?} it is done");
            api.fail(usize::MAX, Failure::Before);
            let ran = run_for(job, &api, steps).await;
            assert!(ran.failure.is_none(), "after write {failing} failed {failure:?}: {:?}", ran.failure);
            assert_eq!(without_times(api.snapshot()), expected, "after write {failing} failed {failure:?} it was done");
        }
    }
}

#[rstest]
#[case::overdue(json!({"status": {"active": 1}}), EndReason::DeadlineExceeded, true)]
#[case::without_a_pod(json!({"status": {"active": 0}}), EndReason::NotStarting, true)]
#[case::a_pod_came(json!({"status": {"active": 1}}), EndReason::NotStarting, false)]
#[case::suspended(json!({"spec": {"suspend": true}}), EndReason::DeadlineExceeded, false)]
#[case::finished(finished(), EndReason::DeadlineExceeded, false)]
#[tokio::test]
async fn a_job_is_ended_only_if_the_second_look_bears_it_out(
    #[case] job: Value,
    #[case] reason: EndReason,
    #[case] ends: bool,
) {
    let api = world();
    change(&api, JOB, &job);
    let ran = run(&api, &[end_job(reason)]).await;
    assert_eq!(ran.failure.is_none(), ends, "{:?}", ran.failure);
    let failing = condition(&api.get(JOB).expect("it is there"), "FailureTarget");
    assert_eq!(failing.map(|condition| condition["reason"].clone()), ends.then(|| json!(reason.as_str())));
}

#[tokio::test]
async fn a_job_is_failed_by_a_condition_beside_the_others() {
    let api = world();
    run(&api, &[fail_job()]).await;
    let job = api.get(JOB).expect("it is there");
    let target = condition(&job, "FailureTarget").expect("it holds");
    assert_eq!((&target["reason"], &target["message"]), (&json!("NodeUnreachable"), &json!("it is lost")));
    assert!(condition(&job, "Whatever").is_some());
    assert!(condition(&job, "Failed").is_none(), "Failed is the Job controller's to write");
}

#[tokio::test]
async fn where_failure_target_is_refused_a_deadline_does_it() {
    let api = world();
    let (report, _) = executor(&api, FailWith::ActiveDeadline).run_steps(&identity(), vec![fail_job(), record()]).await;
    assert!(!report.failed);
    let job = api.get(JOB).expect("it is there");
    assert_eq!(job["spec"]["activeDeadlineSeconds"], 1);
    assert!(condition(&job, "FailureTarget").is_none());
}

/// The second look: whatever has changed since the evidence was gathered, nothing is written.
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
async fn the_second_look_keeps_from_writing(#[case] path: &str, #[case] patch: Value) {
    for step in [fail_job(), delete_pod()] {
        let api = world();
        change(&api, path, &patch);
        let ran = run(&api, &[step, record(), Step::ReleaseFinalizer]).await;
        assert!(matches!(ran.failure, Some(ExecuteError::SecondLook { .. })), "{:?}", ran.failure);
        assert_eq!(api.get(JOB).map(|job| job["metadata"]["finalizers"].clone()), Some(json!(["other", FINALIZER])));
        assert_eq!(api.writes(), Vec::<String>::new(), "nor is anything recorded or released");
    }
}

#[tokio::test]
async fn of_another_pod_of_that_name_nothing_is_touched() {
    for step in [fail_job(), delete_pod(), mark_pod_failed(), Step::ForceDeletePod { pod: pod() }] {
        let api = world();
        change(&api, POD, &json!({"metadata": {"uid": "another", "deletionTimestamp": "2026-01-02T03:04:05Z"}}));
        run(&api, &[step]).await;
        assert_eq!(api.writes(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_conflict_is_judged_again_and_nothing_is_recorded() {
    let api = world();
    // Somebody writes to the Job between our reading and our writing: the condition is not ours to write any more.
    let sneaky = api.clone();
    let steps = [record(), fail_job()];
    api.after(0, move |objects| {
        let job = objects.get_mut(JOB).expect("it is there");
        job["status"]["conditions"] = json!([{ "type": "SuccessCriteriaMet", "status": "True" }]);
    });
    let ran = run(&sneaky, &steps).await;
    assert!(ran.failure.is_some());
    assert!(condition(&api.get(JOB).expect("it is there"), "FailureTarget").is_none());
}

#[tokio::test]
async fn a_stale_resource_version_is_a_conflict() {
    let source = kube::Error::Api(Box::new(kube::core::Status::failure("changed", "Conflict").with_code(409)));
    let error = ExecuteError::api("fail", "Job ort/j".to_owned(), source);
    assert!(matches!(error, ExecuteError::Conflict { .. }));
    assert_eq!(error.to_string(), "cannot fail Job ort/j: conflict, it was modified concurrently");
}

#[tokio::test]
async fn a_success_in_the_same_moment_is_told_in_the_outcome() {
    let api = world();
    api.after(0, |objects| objects.get_mut(POD).expect("it is there")["status"]["phase"] = json!("Succeeded"));
    let ran = run(&api, &[fail_job(), record()]).await;
    assert!(ran.failure.is_none());
    let outcome = api.get(FINAL).expect("recorded");
    let message = outcome["spec"]["data"]["message"].as_str().expect("a message");
    assert!(message.ends_with("Pod w succeeded in the same moment: its work may be done."), "{message}");
}

#[tokio::test]
async fn an_outcome_is_frozen_by_whoever_records_it_first_and_addressed_to_every_sink() {
    let api = world();
    run(&api, &[record()]).await;
    let later = Draft {
        name: OutcomeName::job_final(&"job-uid".into()),
        data: jobwarden_common::notification::OutcomeData { kind: OutcomeKind::Succeeded, ..mk_data() },
    };
    let ran = run(&api, &[Step::Record(Box::new(later))]).await;
    assert!(ran.failure.is_none());
    let outcome = api.get(FINAL).expect("recorded");
    assert_eq!(outcome["spec"]["kind"], "lost");
    assert_eq!(outcome["status"]["sinks"], json!([{ "name": "ort", "state": "pending", "attempts": 0 }]));
    assert_eq!(outcome["metadata"]["labels"], json!({ "jobwarden.io/run-id": "41", "jobwarden.io/job-id": "7" }));
}

#[tokio::test]
async fn what_was_done_is_in_the_timeline() {
    let api = world();
    run(&api, &[fail_job(), record()]).await;
    let outcome = api.get(FINAL).expect("recorded");
    let timeline = outcome["spec"]["data"]["timeline"].as_array().expect("a timeline");
    let events: Vec<_> = timeline.iter().map(|entry| entry["event"].as_str().expect("an event")).collect();
    assert_eq!(
        events,
        [
            "pod scheduled",
            "the Job was failed with reason NodeUnreachable",
            "outcome lost with reason NodeUnreachable, by P8"
        ]
    );
}

#[tokio::test]
async fn the_finalizer_goes_and_those_of_others_stay() {
    let api = world();
    run(&api, &[Step::ReleaseFinalizer]).await;
    assert_eq!(api.get(JOB).expect("it is there")["metadata"]["finalizers"], json!(["other"]));
}

#[tokio::test]
async fn a_pod_that_is_not_terminating_is_never_called_failed() {
    let api = world();
    let ran = run(&api, &[mark_pod_failed(), Step::ForceDeletePod { pod: pod() }]).await;
    assert!(matches!(ran.failure, Some(ExecuteError::SecondLook { .. })));
    assert_eq!(api.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_pod_that_was_not_given_up_is_never_removed() {
    let api = world();
    change(&api, POD, &json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}));
    let ran = run(&api, &[Step::ForceDeletePod { pod: pod() }]).await;
    assert!(matches!(ran.failure, Some(ExecuteError::SecondLook { .. })));
    assert!(api.get(POD).is_some());
}

#[tokio::test]
async fn a_pod_on_a_gone_node_is_deleted_given_up_and_removed() {
    let api = world();
    let ran = run(&api, &planned(retrying(Retries::Left), on_gone_node("w"))).await;
    assert!(ran.failure.is_none());
    assert!(api.get(POD).is_none());
    assert_eq!(api.get(ATTEMPT).expect("recorded")["spec"]["kind"], "attempt_failed");
    assert!(api.get(FINAL).is_none(), "the Job goes on");
    assert_eq!(ran.report.abandoned, [PodUid::from("w-uid")]);
}

#[tokio::test]
async fn an_unfenced_pod_is_only_asked_to_go() {
    let api = world();
    run(&api, &planned(retrying(Retries::Left), unreachable("w", 100))).await;
    let pod = api.get(POD).expect("its object stays");
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(pod["status"]["phase"], "Running");
}

#[tokio::test]
async fn of_a_failing_job_the_unreachable_pod_is_given_up_with_our_reason() {
    let api = world();
    change(&api, POD, &json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}));
    let stage = JobStage::Failing { reason: "NodeUnreachable".to_owned(), message: "it is lost".to_owned() };
    run(&api, &planned(mk_job(stage), terminating(unreachable("w", 100), NOW - 5))).await;
    let pod = api.get(POD).expect("its object stays while its node may come back");
    assert_eq!((&pod["status"]["phase"], &pod["status"]["reason"]), (&json!("Failed"), &json!("NodeUnreachable")));
    assert_eq!(condition(&pod, "DisruptionTarget").expect("it holds")["reason"], "NodeUnreachable");
    assert!(condition(&pod, "Ready").is_some());
    assert_eq!(api.get(FINAL).expect("recorded")["spec"]["kind"], "lost");
}

#[rstest]
#[case::being_deleted(Some(json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}})), true)]
#[case::another_of_that_name(Some(json!({"metadata": {"uid": "another"}})), true)]
#[case::not_being_deleted(Some(json!({})), false)]
#[case::finished_meanwhile(Some(json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}})), false)]
#[tokio::test]
async fn a_deletion_is_confirmed_before_it_is_told(#[case] patch: Option<Value>, #[case] recorded: bool) {
    let api = world();
    change(&api, JOB, &patch.unwrap_or_default());
    let ran = run(&api, &[Step::ConfirmDeleted, record(), Step::Forget]).await;
    assert_eq!((api.get(FINAL).is_some(), ran.report.forget), (recorded, recorded));
}

#[tokio::test]
async fn pods_that_a_deleted_job_does_not_own_any_more_are_left_alone() {
    let api = world();
    change(&api, POD, &json!({"metadata": {"ownerReferences": null}}));
    let ran = run(&api, &[Step::DeletePod { pod: pod(), why: Removal::JobDeleted }]).await;
    assert!(ran.failure.is_none());
    assert!(api.get(POD).expect("it is there")["metadata"]["deletionTimestamp"].is_null());
}

#[tokio::test]
async fn an_unfinished_job_is_never_deleted() {
    let api = world();
    let ran = run(&api, &[Step::DeleteJob]).await;
    assert!(matches!(ran.failure, Some(ExecuteError::SecondLook { .. })));
    assert_eq!(api.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn an_event_stands_on_the_job_and_names_the_pod() {
    let api = world();
    let notice = Notice { pod: Some(pod()), reason: "SidecarFault", message: "x".repeat(5000) };
    let ran = run(&api, &[Step::RecordEvent(notice.clone())]).await;
    assert_eq!(ran.report.notified, [notice.key()]);
    let paths = api.paths("/events/");
    let event = api.get(paths.first().expect("published")).expect("it is there");
    assert_eq!((&event["regarding"]["name"], &event["related"]["name"]), (&json!("analyzer-7"), &json!("w")));
    assert_eq!((&event["reason"], &event["type"]), (&json!("SidecarFault"), &json!("Warning")));
    assert!(event["note"].as_str().expect("a note").len() <= 1024);
}

#[tokio::test]
async fn an_event_that_cannot_be_published_keeps_nothing_else_from_being_done() {
    let api = world();
    api.fail(0, Failure::Before);
    let notice = Notice { pod: None, reason: "NotStarting", message: "no pod".to_owned() };
    let ran = run(&api, &[Step::RecordEvent(notice), record()]).await;
    assert!(ran.failure.is_none() && ran.report.notified.is_empty());
    assert!(api.get(FINAL).is_some());
}

#[tokio::test]
async fn a_pod_that_cannot_be_handled_does_not_keep_the_others_waiting_but_the_job() {
    let api = world();
    change(&api, POD, &json!({"status": {"phase": "Succeeded"}}));
    let other = "/api/v1/namespaces/ort/pods/v";
    let mut object = api.get(POD).expect("it is there");
    object["metadata"]["uid"] = json!("v-uid");
    object["status"]["phase"] = json!("Running");
    api.put(other, object);
    let v = PodRef { uid: PodUid::from("v-uid"), name: "v".to_owned() };
    let steps = [delete_pod(), Step::DeletePod { pod: v, why: Removal::Lost }, Step::ReleaseFinalizer];
    let ran = run(&api, &steps).await;
    assert!(ran.failure.is_some());
    assert_eq!(api.writes(), [format!("DELETE {other}")]);
}
