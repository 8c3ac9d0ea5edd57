//! Against an API server in memory, with room for two Jobs of the namespace `ort`.

use jobwarden_common::names::{FINALIZER, reason};
use jobwarden_core::index::JobLimits;
use serde_json::{Value, json};

use super::*;
use crate::{
    deliver::Routes,
    execute::FailWith,
    fake_api::{Failure, FakeApi},
    outbox::Outbox,
};

fn path(name: &str) -> String {
    format!("/apis/batch/v1/namespaces/ort/jobs/{name}")
}

/// A Job with our finalizer and this metadata and status.
fn put(api: &FakeApi, name: &str, metadata: &Value, status: &Value) {
    let mut job = json!({
        "metadata": {
            "namespace": "ort", "uid": name, "finalizers": [FINALIZER], "labels": { "jobwarden.io/enrolled": "true" }
        },
        "spec": { "template": { "spec": { "containers": [] } } },
        "status": status
    });
    json_patch::merge(&mut job["metadata"], metadata);
    api.put(&path(name), job);
}

fn put_running(api: &FakeApi, name: &str) {
    put(api, name, &json!({}), &json!({}));
}

/// The watches have delivered all Jobs that exist.
fn mk(api: &FakeApi, enrolled: bool, mode: Mode) -> (Unfollowed, Outbox) {
    let (observer, outbox, metrics) = (Observer::of_new_leader(), Outbox::new(), Metrics::default());
    observer.set_job_limits(JobLimits::each(2));
    observer.with(|index, now| {
        index.set_enrolled("ort", enrolled, now);
        index.namespaces_listed(|_| true, now);
    });
    let executor = Executor::new(
        api.client(),
        "jobwarden",
        "reaper-0".to_owned(),
        outbox.clone(),
        Routes::to_everyone(&["sink"]),
        FailWith::FailureTarget,
        metrics.clone(),
    );
    let unfollowed = Unfollowed::new(api.client(), observer, executor, mode, metrics);
    for path in api.paths("/jobs/") {
        let job = serde_json::from_value(api.get(&path).expect("it exists")).expect("a Job");
        unfollowed.observer.job(&job);
    }
    (unfollowed, outbox)
}

fn is_held(api: &FakeApi, name: &str) -> bool {
    let job = api.get(&path(name)).expect("it exists");
    job["metadata"]["finalizers"].as_array().is_some_and(|all| all.contains(&json!(FINALIZER)))
}

/// How many of each kind and reason were reported, in each coalesced outcome.
fn reported(api: &FakeApi) -> Vec<Vec<String>> {
    let outcomes = api.paths("/joboutcomes/coalesced.ort.");
    let by = |path: &String| {
        let outcome = api.get(path).expect("it exists");
        let by = outcome["spec"]["data"]["coalesced"]["by"].as_array().cloned().unwrap_or_default();
        by.iter().map(|it| format!("{} {} {}", it["count"], it["kind"], it["reason"]).replace('"', "")).collect()
    };
    outcomes.iter().map(by).collect()
}

fn beyond(unfollowed: &Unfollowed) -> usize {
    unfollowed.observer.with(|index, _| index.beyond_limit().count())
}

#[tokio::test]
async fn a_job_that_runs_is_reported_once_and_taken_up_when_there_is_room() {
    let api = FakeApi::default();
    for name in ["a", "b", "c", "d"] {
        put_running(&api, name);
    }
    let (unfollowed, _) = mk(&api, true, Mode::Enforce);
    assert_eq!((unfollowed.observer.jobs(), beyond(&unfollowed)), (2, 1));
    let listed = unfollowed.follow("ort", false).await.expect("it is listed");
    assert_eq!(reported(&api), [["2 suspect JobNotFollowed"]]);
    assert!(listed.reported && is_held(&api, "c"), "it keeps its finalizer: its own outcome comes when it is taken up");
    let events = api.paths("/events/");
    assert_eq!(events.len(), 2, "{events:?}");
    let event = api.get(&events[0]).expect("it exists");
    assert_eq!(event["reason"], reason::JOB_NOT_FOLLOWED);
    let gauge = || unfollowed.metrics.unfollowed.get_or_create(&NamespaceLabels { namespace: "ort".to_owned() }).get();
    assert_eq!(gauge(), 2);

    unfollowed.follow("ort", true).await.expect("it is listed");
    assert_eq!((reported(&api).len(), api.paths("/events/").len()), (1, 2), "nothing is new");

    unfollowed.observer.forget(&"a".into());
    api.remove(&path("a"));
    unfollowed.follow("ort", true).await.expect("it is listed");
    assert_eq!((unfollowed.observer.jobs(), gauge(), beyond(&unfollowed)), (2, 1, 1));
    unfollowed.observer.forget(&"b".into());
    api.remove(&path("b"));
    let listed = unfollowed.follow("ort", true).await.expect("it is listed");
    assert_eq!((unfollowed.observer.jobs(), gauge(), beyond(&unfollowed)), (2, 0, 0));
    assert!(!listed.reported, "the next time they are reported again");
}

#[tokio::test]
async fn a_finalizer_is_released_once_the_end_of_its_job_is_recorded() {
    let api = FakeApi::default();
    for name in ["a", "b"] {
        put_running(&api, name);
    }
    let deleting = json!({ "deletionTimestamp": "2026-01-02T03:04:05Z" });
    put(&api, "deleted", &deleting, &json!({}));
    put(
        &api,
        "failed",
        &json!({}),
        &json!({ "conditions": [{ "type": "Failed", "status": "True", "reason": "Broken" }] }),
    );
    let (unfollowed, outbox) = mk(&api, true, Mode::Enforce);

    // The outcome cannot be recorded: nothing is released.
    api.fail(0, Failure::Before);
    unfollowed.follow("ort", false).await.expect("it is listed");
    assert!(reported(&api).is_empty() && is_held(&api, "failed") && is_held(&api, "deleted"));

    api.fail(usize::MAX, Failure::Before);
    unfollowed.follow("ort", false).await.expect("it is listed");
    assert_eq!(reported(&api), [["1 failed Broken", "1 lost JobDeleted"]]);
    assert!(!is_held(&api, "failed") && api.get(&path("deleted")).is_none(), "the deletion goes on");
    assert!(outbox.of_job(&"failed".into()).is_empty(), "nothing is kept of it");
    unfollowed.follow("ort", true).await.expect("it is listed");
    assert_eq!(reported(&api).len(), 1, "it is reported once");
    assert_eq!(beyond(&unfollowed), 1, "it is taken up later, and deleted after its retention");
}

#[tokio::test]
async fn what_stands_outside_of_enrolment_is_released_and_not_reported() {
    let api = FakeApi::default();
    for name in ["a", "b", "c"] {
        put_running(&api, name);
    }
    let (unfollowed, _) = mk(&api, false, Mode::Enforce);
    unfollowed.follow("ort", false).await.expect("it is listed");
    assert!(reported(&api).is_empty() && !is_held(&api, "c"));
}

#[tokio::test]
async fn a_reaper_that_only_observes_writes_to_no_job() {
    let api = FakeApi::default();
    for name in ["a", "b"] {
        put_running(&api, name);
    }
    put(&api, "deleted", &json!({ "deletionTimestamp": "2026-01-02T03:04:05Z" }), &json!({}));
    let (unfollowed, _) = mk(&api, true, Mode::ObserveOnly);
    unfollowed.follow("ort", false).await.expect("it is listed");
    assert!(is_held(&api, "deleted"));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_listed_once_a_minute_while_not_all_of_it_is_followed() {
    let api = FakeApi::default();
    for name in ["a", "b", "c"] {
        put_running(&api, name);
    }
    let (unfollowed, _) = mk(&api, true, Mode::Enforce);
    let mut running = std::pin::pin!(unfollowed.run());
    let mut after = async |seconds| {
        for _ in 0..seconds {
            unfollowed.observer.silence(1).await;
            assert!(timeout(Duration::from_millis(1), &mut running).await.is_err(), "run never returns");
        }
    };
    after(1).await;
    assert_eq!(reported(&api).len(), 1);
    unfollowed.observer.forget(&"a".into());
    api.remove(&path("a"));
    after(40).await;
    assert_eq!(unfollowed.observer.jobs(), 1, "it has been listed a moment ago");
    after(30).await;
    assert_eq!((unfollowed.observer.jobs(), reported(&api).len()), (2, 1));
}
