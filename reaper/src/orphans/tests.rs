//! Against an API server in memory, with pods of the namespace `ort` whose Job `job` was deleted without them.

use jiff::Timestamp;
use jobwarden_common::{identity::JobUid, notification::OutcomeData};
use jobwarden_core::{
    health::{Failure as WatchFailure, Watch},
    outcome::OutcomeName,
    selection::Selection,
};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::*;
use crate::{
    fake_api::{Failure, FakeApi},
    outbox::{JobOutcome, JobOutcomeStatus, Recipients, SinkState, SinkStatus, object::tests::mk_data},
};

const POD: &str = "/api/v1/namespaces/ort/pods/w";
const JOB: &str = "/apis/batch/v1/namespaces/ort/jobs/job";

/// An ended pod without an owner, with some fields changed.
fn put_pod(api: &FakeApi, change: &Value) {
    let mut pod = json!({
        "metadata": {
            "namespace": "ort", "uid": "w-uid",
            "labels": {
                "jobwarden.io/enrolled": "true", "batch.kubernetes.io/controller-uid": "job-uid",
                "batch.kubernetes.io/job-name": "job"
            },
            "annotations": { "jobwarden.io/retention-orphaned": "90s" }
        },
        "spec": { "containers": [{ "name": "main" }] },
        "status": { "phase": "Succeeded" }
    });
    json_patch::merge(&mut pod, change);
    api.put(POD, pod);
}

struct World {
    api: FakeApi,
    observer: Observer,
    outbox: Outbox,
    orphans: Orphans,
    known: HashMap<PodUid, Seen>,
}

/// A leader whose watches have delivered the pod, and never the Job.
fn mk(change: &Value) -> World {
    let (api, observer, outbox) = (FakeApi::default(), Observer::of_new_leader(), Outbox::new());
    outbox.apply(Event::Init);
    outbox.apply(Event::InitDone);
    put_pod(&api, change);
    observer.with(|index, now| {
        index.set_enrolled("ort", true, now);
        index.namespaces_listed(|_| true, now);
    });
    let pod = serde_json::from_value(api.get(POD).expect("it exists")).expect("a pod");
    observer.pod(&pod);
    let orphans = Orphans::new(api.client(), observer.clone(), outbox.clone(), Mode::Enforce, Metrics::default());
    World { api, observer, outbox, orphans, known: HashMap::new() }
}

impl World {
    /// Searches now, and again every minute.
    async fn after_minutes(&mut self, minutes: u64) {
        self.orphans.sweep(&mut self.known).await;
        for _ in 0..minutes {
            self.observer.silence(60).await;
            self.orphans.sweep(&mut self.known).await;
        }
    }

    /// The API server in memory has no kubelet, so a pod that is deleted stays with its deletion timestamp.
    fn is_there(&self) -> bool {
        self.api.get(POD).is_some_and(|pod| pod["metadata"]["deletionTimestamp"].is_null())
    }

    /// The outcome of the Job is recorded, and in this state of delivery.
    fn record(&self, state: SinkState) {
        let job = JobUid::from("job-uid");
        let recipients = Recipients { sinks: vec!["ort".to_owned()], ..Recipients::default() };
        let data = OutcomeData { job_uid: job.clone(), ..mk_data() };
        let mut outcome = JobOutcome::record(&OutcomeName::job_final(&job), data, recipients, Timestamp::UNIX_EPOCH);
        outcome.status = Some(JobOutcomeStatus::of(vec![SinkStatus { state, ..SinkStatus::untried("ort") }]));
        self.outbox.note(outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_its_job_is_deleted_after_its_retention() {
    let mut world = mk(&json!({}));
    world.after_minutes(1).await;
    assert!(world.is_there(), "its retention of 90 s has not ended");
    world.after_minutes(1).await;
    assert!(!world.is_there());
    assert_eq!(world.api.writes(), [format!("DELETE {POD}")]);
}

#[tokio::test(start_paused = true)]
async fn another_job_of_the_same_name_does_not_keep_it() {
    let mut world = mk(&json!({}));
    world.api.put(JOB, json!({ "metadata": { "namespace": "ort", "uid": "new-uid" } }));
    world.after_minutes(2).await;
    assert!(!world.is_there());
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_job_only_the_watch_has_not_delivered_stays() {
    let mut world = mk(&json!({}));
    world.api.put(JOB, json!({ "metadata": { "namespace": "ort", "uid": "job-uid" } }));
    world.after_minutes(30).await;
    assert!(world.is_there() && world.api.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_comes_back_before_the_retention_ends_keeps_its_pod() {
    let mut world = mk(&json!({}));
    world.after_minutes(1).await;
    world.api.put(JOB, json!({ "metadata": { "namespace": "ort", "uid": "job-uid" } }));
    world.after_minutes(30).await;
    assert!(world.is_there());
}

#[tokio::test(start_paused = true)]
async fn two_reads_have_to_miss_the_job_even_without_a_retention() {
    let mut world = mk(&json!({ "metadata": { "annotations": { "jobwarden.io/retention-orphaned": "0s" } } }));
    world.api.put(JOB, json!({ "metadata": { "namespace": "ort", "uid": "job-uid" } }));
    world.after_minutes(9).await;
    world.api.remove(JOB);
    world.after_minutes(1).await;
    assert!(world.is_there(), "one read has missed the Job");
    world.after_minutes(1).await;
    assert!(!world.is_there());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_deleted_before_the_outcome_is_delivered() {
    let mut world = mk(&json!({}));
    world.record(SinkState::Pending);
    world.after_minutes(30).await;
    assert!(world.is_there());
    world.record(SinkState::Acknowledged);
    world.after_minutes(0).await;
    assert!(!world.is_there());
}

#[tokio::test(start_paused = true)]
async fn while_a_watch_is_down_nothing_is_deleted() {
    let mut world = mk(&json!({}));
    world.after_minutes(1).await;
    world.observer.watch_failed(Watch::Jobs, WatchFailure::Disconnected);
    tokio::time::advance(Duration::from_mins(5)).await;
    world.orphans.sweep(&mut world.known).await;
    assert_eq!(world.observer.health(), SignalHealth::WatchDown);
    assert!(world.is_there());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_not_enrolled_or_opted_out_stays() {
    let mut opted_out = mk(&json!({ "metadata": { "labels": { "jobwarden.io/inject": "false" } } }));
    let mut unlabelled = mk(&json!({}));
    unlabelled.api.remove(POD);
    put_pod(&unlabelled.api, &json!({ "metadata": { "labels": { "jobwarden.io/enrolled": null } } }));
    let mut left = mk(&json!({}));
    left.observer.with(|index, now| index.set_enrolled("ort", false, now));
    for world in [&mut opted_out, &mut unlabelled, &mut left] {
        world.after_minutes(30).await;
        assert!(world.is_there());
    }
}

#[tokio::test(start_paused = true)]
async fn where_jobs_are_followed_by_selector_only_selected_pods_are_deleted() {
    let follow = |world: &World| {
        let selector = jobwarden_core::label_selector::parse("ort-worker").expect("a selector");
        world.observer.with(|index, now| {
            index.set_enrolled("ort", false, now);
            index.set_selection(Selection::new(["ort".to_owned()], selector), now);
        });
    };
    let mut labelled_by_hand = mk(&json!({}));
    follow(&labelled_by_hand);
    labelled_by_hand.after_minutes(30).await;
    assert!(labelled_by_hand.is_there());
    let mut selected = mk(&json!({ "metadata": { "labels": { "ort-worker": "scanner" } } }));
    follow(&selected);
    selected.after_minutes(2).await;
    assert!(!selected.is_there());
}

#[tokio::test(start_paused = true)]
async fn a_new_pod_of_the_same_name_stays() {
    let mut world = mk(&json!({}));
    world.after_minutes(1).await;
    put_pod(&world.api, &json!({ "metadata": { "uid": "new-uid" } }));
    world.after_minutes(30).await;
    assert!(world.is_there());
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_fails_is_repeated() {
    let mut world = mk(&json!({}));
    world.after_minutes(1).await;
    world.api.fail(0, Failure::Before);
    world.after_minutes(1).await;
    assert!(world.is_there());
    world.after_minutes(0).await;
    assert!(!world.is_there());
}
