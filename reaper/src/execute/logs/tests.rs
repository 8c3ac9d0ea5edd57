//! An outcome has the last log lines of its attempt, or says why not, and is recorded in time.

use std::time::Duration;

use jobwarden_common::notification::OutcomeData;
use jobwarden_core::{
    builders::evidence::identity,
    evidence::JobIdentity,
    logs::LogSettings,
    outcome::OutcomeName,
    plan::step::{Draft, Step},
    policy::Labels,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    execute::{Executor, log_reader::SILENT_FOR, tests::executor_of},
    fake_api::{FakeApi, LogAnswer},
    outbox::object::tests::mk_data,
};

const POD: &str = "/api/v1/namespaces/ort/pods/w";

/// A pod of which the container `main` has failed, and whose log is `answer`.
fn mk_api(answer: LogAnswer) -> FakeApi {
    let api = FakeApi::default();
    let ended = json!({ "terminated": { "exitCode": 1, "finishedAt": "2026-01-02T03:04:05Z" } });
    api.put(
        POD,
        json!({
            "metadata": { "namespace": "ort" },
            "spec": { "containers": [{ "name": "main", "env": [{ "name": "DB_PASSWORD", "value": "hunter2" }] }] },
            "status": { "phase": "Failed", "containerStatuses": [{
                "name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": ended,
            }] },
        }),
    );
    api.put_log(POD, answer);
    api
}

fn executor(api: &FakeApi) -> Executor {
    let executor = executor_of(api);
    executor.set_log_rules(LogSettings::default().rules().expect("valid"));
    executor
}

fn failed(job: &str) -> OutcomeData {
    let attempt = Attempt { pod_uid: "w-uid".into(), pod_name: "w".to_owned(), node: Some("n1".into()) };
    let cause = Cause {
        container: Some("main".to_owned()),
        exit_code: Some(1),
        finished_at: Some("2026-01-02T03:04:05Z".to_owned()),
        ..Cause::default()
    };
    OutcomeData { job_uid: job.into(), attempt: Some(attempt), cause, ..mk_data() }
}

/// Records the outcome of a Job; its logs, and how long that took.
async fn record(api: &FakeApi, executor: &Executor, job: &str, logs: LogPlan) -> (Value, Duration) {
    let name = OutcomeName::job_final(&job.into());
    let step = Step::Record(Box::new(Draft { name, data: failed(job), labels: Labels::default(), logs }));
    let identity = JobIdentity { uid: job.into(), ..identity() };
    let started = Instant::now();
    let (report, failure) = Box::pin(executor.run_steps(&identity, vec![step])).await;
    assert!(!report.failed, "{failure:?}");
    let path = format!("/apis/jobwarden.io/v1alpha1/namespaces/jobwarden/joboutcomes/{job}.final");
    (api.get(&path).expect("recorded")["spec"]["data"]["logs"].clone(), started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn an_outcome_has_the_last_lines_without_what_is_secret() {
    let api = mk_api(LogAnswer::Text(b"connecting as hunter2\ntoken=abc\n\x1b[31mfailed\xff\x1b[0m\n".to_vec()));
    let (logs, _) = record(&api, &executor(&api), "j", LogPlan::Read).await;
    let lines = ["connecting as [redacted]", "token=[redacted]", "failed\u{fffd}"];
    assert_eq!(logs, json!({ "container": "main", "lines": lines }));
    assert_eq!(api.log_queries(), ["&container=main&limitBytes=688128&tailLines=21"]);
}

#[tokio::test(start_paused = true)]
async fn the_log_of_the_run_that_decided_is_read() {
    let api = mk_api(LogAnswer::Text(b"failed\n".to_vec()));
    let mut pod = api.get(POD).expect("it exists");
    let status = &mut pod["status"]["containerStatuses"][0];
    status["lastState"] = status["state"].take();
    status["state"] = json!({ "running": {} });
    api.put(POD, pod);
    let (logs, _) = record(&api, &executor(&api), "j", LogPlan::Read).await;
    assert_eq!(logs, json!({ "container": "main", "previous": true, "lines": ["failed"] }));
    assert!(api.log_queries().concat().contains("previous=true"));
}

#[rstest]
#[case::without_permission(403, "Forbidden")]
#[case::unknown_to_the_kubelet(404, "NoLog")]
#[case::not_yet_or_no_more(400, "NoLog")]
#[case::node_unreachable(502, "Failed")]
#[tokio::test(start_paused = true)]
async fn a_refused_log_is_told_of_in_a_word(#[case] code: u16, #[case] why: &str) {
    let api = mk_api(LogAnswer::Error(code));
    let (logs, _) = record(&api, &executor(&api), "j", LogPlan::Read).await;
    assert_eq!(logs, json!({ "container": "main", "unavailable": why }));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_never_comes_delays_its_outcome_by_five_seconds_and_later_ones_by_nothing() {
    let api = mk_api(LogAnswer::Hang);
    let executor = executor(&api);
    let (logs, took) = record(&api, &executor, "first", LogPlan::Read).await;
    assert_eq!(logs, json!({ "container": "main", "unavailable": "TimedOut" }));
    assert!(took >= Duration::from_millis(4900) && took <= Duration::from_millis(5100), "{took:?}");

    let (logs, took) = record(&api, &executor, "second", LogPlan::Read).await;
    assert_eq!(logs["unavailable"], "NodeNotAnswering");
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert_eq!(api.log_queries().len(), 1);

    tokio::time::advance(SILENT_FOR).await;
    api.put_log(POD, LogAnswer::Text(b"there\n".to_vec()));
    let (logs, _) = record(&api, &executor, "third", LogPlan::Read).await;
    assert_eq!(logs["lines"], json!(["there"]), "a minute later it is asked again");
}

#[tokio::test(start_paused = true)]
async fn logs_that_never_come_leave_room_for_other_jobs() {
    let api = mk_api(LogAnswer::Hang);
    let executor = executor(&api);
    let hanging = async {
        let jobs = ["a", "b", "c", "d"].map(|job| record(&api, &executor, job, LogPlan::Read));
        futures::future::join_all(jobs).await
    };
    let other = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        record(&api, &executor, "other", LogPlan::Read).await
    };
    let (hanging, (logs, took)) = tokio::join!(hanging, other);
    assert!(hanging.iter().all(|(logs, _)| logs["unavailable"] == "TimedOut"));
    assert_eq!(logs["unavailable"], "Busy");
    assert!(took <= Duration::from_millis(300), "{took:?}");
}

#[rstest]
#[case::it_is_gone(None)]
#[case::another_has_its_name(Some("another"))]
#[tokio::test(start_paused = true)]
async fn only_the_pod_of_the_attempt_is_asked(#[case] uid: Option<&str>) {
    let api = mk_api(LogAnswer::Text(b"of another\n".to_vec()));
    match uid {
        None => api.remove(POD),
        Some(uid) => {
            let mut pod = api.get(POD).expect("it exists");
            pod["metadata"]["uid"] = json!(uid);
            api.put(POD, pod);
        }
    }
    let (logs, _) = record(&api, &executor(&api), "j", LogPlan::Read).await;
    assert_eq!(logs, json!({ "container": "main", "unavailable": "PodGone" }));
    assert!(api.log_queries().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_where_it_is_known_or_not_wanted() {
    let api = mk_api(LogAnswer::Text(b"line\n".to_vec()));
    let reading = executor(&api);
    let (logs, _) = record(&api, &reading, "a", LogPlan::Unavailable(NoLogs::NodeNotAnswering)).await;
    assert_eq!(logs["unavailable"], "NodeNotAnswering");
    let (logs, _) = record(&api, &reading, "b", LogPlan::Omit).await;
    assert_eq!(logs, Value::Null);
    reading.set_log_rules(None);
    for (job, plan) in [("c", LogPlan::Read), ("d", LogPlan::Unavailable(NoLogs::PodGone))] {
        assert_eq!(record(&api, &reading, job, plan).await.0, Value::Null, "it is turned off");
    }
    assert!(api.log_queries().is_empty());
}
