//! The observer: changes, time, policies and metrics.

use std::time::Duration;

use jobwarden_common::beat::Phase;
use jobwarden_core::{evidence::JobStage, health::NOT_RECEIVING_AFTER};
use tokio::time::advance;

use super::*;

/// The observer of a leader that receives signals, with the Job `job` and its pod `pod`, which has sent no beat yet.
fn mk_observer() -> Observer {
    let observer = Observer::of_new_leader();
    observer.own_beat_arrived();
    observer.apply_job_with_pod();
    observer.take_changed();
    observer
}

fn beat(observer: &Observer) {
    observer.with(|index, now| index.beat(&"pod".into(), None, Phase::Running, now)).expect("known");
}

#[tokio::test(start_paused = true)]
async fn a_change_wakes_the_waiter() {
    let observer = mk_observer();
    let waiting = tokio::spawn({
        let observer = observer.clone();
        async move {
            observer.changed().await;
            observer.take_changed()
        }
    });
    tokio::task::yield_now().await;
    beat(&observer);
    assert_eq!(waiting.await.expect("it does not panic"), ["job".into()]);
}

#[tokio::test(start_paused = true)]
async fn a_change_before_the_wait_returns_immediately() {
    let observer = mk_observer();
    beat(&observer);
    observer.changed().await;
    assert_eq!(observer.take_changed(), ["job".into()]);
    assert!(observer.take_changed().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_signal_health_marks_every_job_as_changed() {
    let observer = mk_observer();
    advance(NOT_RECEIVING_AFTER).await;
    assert_eq!(observer.health(), SignalHealth::NotReceiving);
    assert_eq!(observer.take_changed(), ["job".into()]);
    observer.own_beat_arrived();
    observer.changed().await;
    assert_eq!(observer.take_changed(), ["job".into()]);
    assert_eq!(observer.health(), SignalHealth::Receiving);
}

#[tokio::test(start_paused = true)]
async fn the_clock_stops_while_a_watch_is_down_and_runs_while_the_own_beat_is_missing() {
    let observer = mk_observer();
    let start = observer.now();
    advance(Duration::from_hours(1)).await;
    assert_eq!(observer.health(), SignalHealth::NotReceiving);
    assert_eq!(observer.now(), start + Duration::from_hours(1));
    for watch in Watch::ALL {
        observer.watch_received(watch);
    }
    observer.watch_failed(Watch::Jobs, Failure::Disconnected);
    advance(Duration::from_hours(1)).await;
    assert_eq!(observer.now(), start + Duration::from_hours(1));
    observer.watch_received(Watch::Jobs);
    advance(Duration::from_secs(5)).await;
    assert_eq!(observer.now(), start + Duration::from_hours(1) + Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn silence_counts_from_the_end_of_the_time_in_which_the_own_beat_was_missing() {
    let observer = mk_observer();
    let listening_since = || observer.snapshot(&"job".into()).expect("known").evidence.listening_since;
    let start = listening_since();
    advance(NOT_RECEIVING_AFTER).await;
    assert_eq!(listening_since(), Moment::NEVER);
    assert_eq!(observer.evidence(&"job".into()).expect("known").0.listening_since, Moment::NEVER);
    assert_eq!(observer.listening_for(), Duration::ZERO);
    advance(Duration::from_hours(1)).await;
    observer.own_beat_arrived();
    assert_eq!(listening_since(), start + Duration::from_hours(1) + NOT_RECEIVING_AFTER);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_has_wall_clock_times() {
    let observer = mk_observer();
    advance(Duration::from_secs(5)).await;
    beat(&observer);
    let snapshot = observer.snapshot(&"job".into()).expect("known");
    let times: Vec<Timestamp> = snapshot.timeline.iter().map(|entry| entry.at.parse().expect("RFC 3339")).collect();
    assert!(times.is_sorted(), "{times:?}");
    let passed = times.last().expect("events").duration_since(times[0]);
    assert!((4.9..5.1).contains(&passed.as_secs_f64()), "{passed}");
}

fn namespace(name: &str, annotations: &[(&str, &str)]) -> k8s_openapi::api::core::v1::Namespace {
    let annotations: std::collections::BTreeMap<_, _> = annotations.iter().copied().collect();
    serde_json::from_value(serde_json::json!({"metadata": {"name": name, "annotations": annotations}}))
        .expect("a namespace")
}

#[tokio::test(start_paused = true)]
async fn namespace_annotations_are_a_policy_layer_of_its_jobs() {
    let observer = mk_observer();
    let lost_after = || observer.snapshot(&"job".into()).expect("known").policy.lost_after.as_secs();
    observer.namespace(&namespace("ort", &[("jobwarden.io/lost-after", "90s"), ("jobwarden.io/on-lost", "explode")]));
    assert_eq!((lost_after(), observer.take_changed()), (90, vec!["job".into()]));
    observer.namespace(&namespace("ort", &[("jobwarden.io/lost-after", "90s"), ("other", "change")]));
    observer.namespace(&namespace("elsewhere", &[("jobwarden.io/lost-after", "20s")]));
    assert!(observer.take_changed().is_empty(), "nothing changed for this Job");
    observer.set_policy(
        serde_saphyr::from_str("set: {lostAfter: 70s, retention: 5m}").expect("valid"),
        PolicyLimits::default(),
    );
    assert_eq!(lost_after(), 90, "the namespace overrides the file");
    observer.namespaces_listed(&["elsewhere".to_owned()].into());
    assert_eq!(lost_after(), 70);
    observer.namespace(&namespace("ort", &[("jobwarden.io/lost-after", "80s")]));
    assert_eq!(lost_after(), 80);
    observer.namespace_deleted(&namespace("ort", &[]));
    assert_eq!(lost_after(), 70);
}

#[tokio::test(start_paused = true)]
async fn a_bare_pod_is_indexed_as_a_job_until_it_is_forgotten() {
    let observer = mk_observer();
    let pod = |phase: &str| -> k8s_openapi::api::core::v1::Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {
                "namespace": "ort", "name": "once", "uid": "once-uid", "labels": {"jobwarden.io/inject": "true"},
                "annotations": {"jobwarden.io/lost-after": "90s"}
            },
            "spec": {"containers": [{"name": "main"}]},
            "status": {"phase": phase}
        }))
        .expect("a pod")
    };
    let uid = JobUid::from("once-uid");
    observer.pod(&pod("Running"));
    assert_eq!(observer.take_changed(), std::slice::from_ref(&uid));
    let snapshot = observer.snapshot(&uid).expect("known");
    assert_eq!((snapshot.evidence.job.stage, snapshot.evidence.pods.len()), (JobStage::Open, 1));
    assert_eq!(snapshot.policy.lost_after.as_secs(), 90, "from its own annotation");
    observer.namespace(&namespace("ort", &[("jobwarden.io/start-timeout", "5m")]));
    assert_eq!(observer.snapshot(&uid).expect("known").policy.start_timeout.as_secs(), 300, "from its namespace");

    observer.pod_deleted(&pod("Succeeded"));
    let snapshot = observer.snapshot(&uid).expect("the Job is still indexed");
    assert!(matches!(snapshot.evidence.job.stage, JobStage::Finished { .. }), "{:?}", snapshot.evidence.job.stage);
    assert!(observer.snapshot(&uid).expect("the Job is known").gone);
    observer.forget(&uid);
    observer.pod_deleted(&pod("Succeeded"));
    assert_eq!(observer.snapshot(&uid), None);
}

#[tokio::test(start_paused = true)]
async fn a_standby_does_not_wait_for_its_own_beat() {
    let observer = mk_observer();
    assert!(observer.is_listening());
    observer.stop_listening();
    assert!(!observer.is_listening());
    // A standby sends no beat to itself, so that a missing one does not count.
    advance(Duration::from_hours(1)).await;
    assert_eq!(observer.health(), SignalHealth::Receiving);
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_another_namespace_that_names_the_job_is_counted_and_ignored() {
    let observer = mk_observer();
    let mut registry = prometheus_client::registry::Registry::default();
    observer.register(&mut registry);
    let pod: k8s_openapi::api::core::v1::Pod = serde_json::from_value(serde_json::json!({
        "metadata": {
            "name": "evil", "namespace": "attacker", "uid": "evil",
            "labels": {"jobwarden.io/enrolled": "true", "batch.kubernetes.io/controller-uid": "job"},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "work", "uid": "job", "controller": true}]
        },
        "spec": {"nodeName": "no-such-node", "containers": [{"name": "main"}]}
    }))
    .expect("a pod");
    observer.pod(&pod);
    observer.pod(&pod);
    assert!(observer.take_changed().is_empty());
    assert_eq!(observer.evidence(&"job".into()).map(|(evidence, _)| evidence.pods.len()), Some(1));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("writing to a String cannot fail");
    assert!(text.contains(r#"jobwarden_foreign_pods_total{mismatch="namespace"} 1"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_leaves_takes_its_jobs_along() {
    let observer = mk_observer();
    let namespace = |name: &str, value: &str| -> k8s_openapi::api::core::v1::Namespace {
        let labels = serde_json::json!({"jobwarden.io/inject": value});
        serde_json::from_value(serde_json::json!({"metadata": {"name": name, "labels": labels}})).expect("a namespace")
    };
    let observed =
        || observer.evidence(&"job".into()).is_some_and(|(evidence, _)| evidence.job.unenrolled_since.is_none());
    observer.namespace(&namespace("ort", "enabled"));
    observer.namespaces_listed(&["ort".to_owned()].into());
    assert!(observed());
    observer.take_changed();
    observer.namespace(&namespace("ort", "disabled"));
    assert!(!observed());
    assert_eq!(observer.take_changed(), ["job".into()]);
    observer.namespace(&namespace("ort", "enabled"));
    assert!(observed());
    observer.namespace_deleted(&namespace("ort", "enabled"));
    assert!(!observed());
}

#[tokio::test(start_paused = true)]
async fn metrics_count_jobs_pods_and_watches() {
    let observer = mk_observer();
    let mut registry = prometheus_client::registry::Registry::default();
    observer.register(&mut registry);
    observer.watch_failed(Watch::Nodes, Failure::Disconnected);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("writing to a String cannot fail");
    for line in ["jobwarden_watched_jobs 1", "jobwarden_pods 1", "jobwarden_deaf 0"] {
        assert!(text.lines().any(|shown| shown == line), "{text}");
    }
    assert!(text.contains(r#"jobwarden_watch_up{watch="nodes"} 0"#), "{text}");
    assert!(text.contains(r#"jobwarden_watch_up{watch="jobs"} 1"#), "{text}");
}
