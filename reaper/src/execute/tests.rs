//! Executes every step once, twice, and with each of its writes failing before or after it is applied: the resulting objects are
//! always the same.

use jobwarden_common::{identity::PodUid, names::FINALIZER, notification::OutcomeKind};
use jobwarden_core::{
    builders::evidence::{NOW, at, identity, judged, mk_job, mk_snapshot, on_gone_node, terminating, unreachable},
    evidence::{JobEvidence, JobStage, PodEvidence, Retries},
    guard::Holds,
    outcome::OutcomeName,
    plan::{
        plan,
        step::{Draft, LogPlan, Notice, PodRef, Recorded, Removal},
    },
    policy::Labels,
    reconcile::StepReport,
    verdict::{EndReason, LostReason},
};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    deliver::Routes,
    fake_api::{Failure, FakeApi},
    outbox::object::tests::mk_data,
};

mod bare_pod;
mod job;
mod pod;
mod record;
mod refused;

const JOB: &str = "/apis/batch/v1/namespaces/ort/jobs/analyzer-7";
const POD: &str = "/api/v1/namespaces/ort/pods/w";
const FINAL: &str = "/apis/jobwarden.io/v1alpha1/namespaces/jobwarden/joboutcomes/job-uid.final";
const ATTEMPT: &str = "/apis/jobwarden.io/v1alpha1/namespaces/jobwarden/joboutcomes/w-uid.attempt-failed";

/// A running Job and its worker pod.
fn mk_api() -> FakeApi {
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
    let mut object = api.get(path).expect("the object exists");
    json_patch::merge(&mut object, patch);
    api.put(path, object);
}

fn executor(api: &FakeApi, fail_with: FailWith) -> Executor {
    let routes = Routes::to_everyone(&["ort"]);
    Executor::new(
        api.client(),
        "jobwarden",
        "reaper-0".to_owned(),
        Outbox::new(),
        routes,
        fail_with,
        Metrics::default(),
    )
}

pub(super) fn executor_of(api: &FakeApi) -> Executor {
    executor(api, FailWith::FailureTarget)
}

/// The result of some steps.
struct Ran {
    report: StepReport,
    failure: Option<ExecuteError>,
}

async fn run(api: &FakeApi, steps: &[Step]) -> Ran {
    run_for(&identity(), api, steps).await
}

async fn run_for(job: &JobIdentity, api: &FakeApi, steps: &[Step]) -> Ran {
    let executor = executor(api, FailWith::FailureTarget);
    let (report, failure) = Box::pin(executor.run_steps(job, steps.to_vec())).await;
    Ran { report, failure }
}

fn pod() -> PodRef {
    PodRef { uid: PodUid::from("w-uid"), name: "w".to_owned() }
}

fn fail_job() -> Step {
    Step::FailJob { pod: pod(), reason: LostReason::NodeUnreachable, message: "the pod is lost".to_owned() }
}

fn end_job(reason: EndReason) -> Step {
    let started = "2026-01-02T03:04:05Z".parse().ok();
    Step::EndJob { reason, started, message: "the Job has ended".to_owned() }
}

fn delete_pod() -> Step {
    Step::DeletePod { pod: pod(), why: Removal::Lost }
}

fn mark_pod_failed() -> Step {
    Step::MarkPodFailed { pod: pod(), reason: LostReason::NodeUnreachable, message: "the pod is lost".to_owned() }
}

fn record() -> Step {
    Step::Record(Box::new(Draft {
        name: OutcomeName::job_final(&"job-uid".into()),
        data: mk_data(),
        labels: Labels::default(),
        logs: LogPlan::default(),
    }))
}

fn condition(object: &Value, type_: &str) -> Option<Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_ && condition["status"] == "True").cloned()
}

fn finished() -> Value {
    json!({ "status": { "conditions": [{ "type": "Failed", "status": "True", "reason": "NodeUnreachable" }] } })
}

/// The plan for a Job with one pod, as the planner makes it.
fn planned(job: JobEvidence, pod: PodEvidence) -> Vec<Step> {
    let snapshot = mk_snapshot(job, vec![pod]);
    let steps = plan(&snapshot, &judged(&snapshot), &Holds::default(), &Recorded::default(), at(NOW));
    // Events are published at least once and have the time in their name, so they are left out of the comparison.
    steps.into_iter().filter(|step| !matches!(step, Step::RecordEvent(_))).collect()
}

fn retrying(retries: Retries) -> JobEvidence {
    JobEvidence { retries, ..mk_job(JobStage::Open) }
}

fn without_times(mut objects: std::collections::BTreeMap<String, Value>) -> std::collections::BTreeMap<String, Value> {
    for object in objects.values_mut().filter(|object| object["kind"] == "JobOutcome") {
        object["spec"]["createdAt"] = Value::Null;
        // The timeline has only the steps of the run that recorded the outcome.
        object["spec"]["data"]["timeline"] = Value::Null;
    }
    objects
}

/// Each step, from a state in which it applies.
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
async fn a_step_can_be_repeated_and_interrupted(#[case] job: Value, #[case] worker: Value, #[case] steps: Vec<Step>) {
    let mk = || {
        let api = mk_api();
        change(&api, JOB, &job);
        change(&api, POD, &worker);
        api
    };
    assert_repeatable(&identity(), mk, &steps).await;
}

async fn assert_repeatable(job: &JobIdentity, mk_api: impl Fn() -> FakeApi, steps: &[Step]) {
    let once = mk_api();
    let untouched = once.snapshot();
    let ran = run_for(job, &once, steps).await;
    assert!(ran.failure.is_none(), "{:?}", ran.failure);
    let writes = once.writes().len();
    let expected = without_times(once.snapshot());
    assert_ne!(expected, without_times(untouched), "the step changes something");

    let ran = run_for(job, &once, steps).await;
    assert!(ran.failure.is_none(), "the second time: {:?}", ran.failure);
    assert_eq!(without_times(once.snapshot()), expected, "the second time changes nothing");

    for failing in 0..writes {
        for failure in [Failure::Before, Failure::After] {
            let api = mk_api();
            api.fail(failing, failure);
            let ran = run_for(job, &api, steps).await;
            assert!(ran.failure.is_some(), "write {failing} fails {failure:?} it is applied");
            api.fail(usize::MAX, Failure::Before);
            let ran = run_for(job, &api, steps).await;
            assert!(ran.failure.is_none(), "after write {failing} failed {failure:?}: {:?}", ran.failure);
            assert_eq!(
                without_times(api.snapshot()),
                expected,
                "after write {failing} failed {failure:?} it was applied"
            );
        }
    }
}
