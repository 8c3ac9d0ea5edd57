//! The Observer: who is woken, and what time does.
use std::time::Duration;

use jobwarden_common::beat::Phase;
use jobwarden_core::{
    builders::facts::{mk_job, mk_pod},
    evidence::JobStage,
    health::DEAF_AFTER,
};
use tokio::time::advance;

use super::*;

/// Leads, hears, and knows Job `job` with its pod `pod`.
fn mk_observer() -> Observer {
    let observer = Observer::new(Policy::default());
    for watch in Watch::ALL {
        observer.watch_listed(watch);
    }
    observer.start_listening();
    observer.own_beat_arrived();
    observer.with(|state, now| {
        state.apply_job(mk_job("job"), now);
        state.apply_pod(mk_pod("pod", "job"), now);
    });
    observer.take_changed();
    observer
}

fn beat(observer: &Observer) {
    observer.with(|state, now| state.beat(&"pod".into(), None, Phase::Running, now)).expect("known");
}

#[tokio::test(start_paused = true)]
async fn a_change_wakes_whoever_waits() {
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
async fn a_change_before_the_wait_is_not_missed() {
    let observer = mk_observer();
    beat(&observer);
    observer.changed().await;
    assert_eq!(observer.take_changed(), ["job".into()]);
    assert!(observer.take_changed().is_empty());
}

#[tokio::test(start_paused = true)]
async fn when_the_ears_open_every_job_is_looked_at_again() {
    let observer = mk_observer();
    advance(DEAF_AFTER).await;
    assert_eq!(observer.health(), SignalHealth::NotReceiving);
    assert_eq!(observer.take_changed(), ["job".into()]);
    observer.own_beat_arrived();
    observer.changed().await;
    assert_eq!(observer.take_changed(), ["job".into()]);
    assert_eq!(observer.health(), SignalHealth::Receiving);
}

#[tokio::test(start_paused = true)]
async fn no_time_passes_while_deaf() {
    let observer = mk_observer();
    let last_heard = observer.now();
    advance(Duration::from_hours(1)).await;
    assert_eq!(observer.now(), last_heard);
    observer.own_beat_arrived();
    advance(Duration::from_secs(5)).await;
    assert_eq!(observer.now(), last_heard + Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_case_tells_wall_times() {
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
async fn a_namespaces_annotations_are_a_layer_of_the_policies_of_its_jobs() {
    let observer = mk_observer();
    let lost_after = || observer.snapshot(&"job".into()).expect("known").policy.lost_after.as_secs();
    observer.namespace(&namespace("ort", &[("jobwarden.io/lost-after", "90s"), ("jobwarden.io/on-lost", "explode")]));
    assert_eq!((lost_after(), observer.take_changed()), (90, vec!["job".into()]));
    observer.namespace(&namespace("ort", &[("jobwarden.io/lost-after", "90s"), ("other", "change")]));
    observer.namespace(&namespace("elsewhere", &[("jobwarden.io/lost-after", "20s")]));
    assert!(observer.take_changed().is_empty(), "nothing about this Job");
    observer.set_policy(serde_saphyr::from_str("set: {lostAfter: 70s, retention: 5m}").expect("valid"));
    assert_eq!(lost_after(), 90, "the namespace overrides the file");
    observer.namespaces_listed(&["elsewhere".to_owned()].into());
    assert_eq!(lost_after(), 70);
    observer.namespace(&namespace("ort", &[("jobwarden.io/lost-after", "80s")]));
    assert_eq!(lost_after(), 80);
    observer.namespace_deleted(&namespace("ort", &[]));
    assert_eq!(lost_after(), 70);
}

#[tokio::test(start_paused = true)]
async fn a_bare_pod_is_known_as_a_job_of_its_own_until_its_end_has_been_told() {
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
    assert_eq!(snapshot.policy.lost_after.as_secs(), 90, "by its own annotation");
    observer.namespace(&namespace("ort", &[("jobwarden.io/start-timeout", "5m")]));
    assert_eq!(observer.snapshot(&uid).expect("known").policy.start_timeout.as_secs(), 300, "and its namespace's");

    observer.pod_deleted(&pod("Succeeded"));
    let snapshot = observer.snapshot(&uid).expect("it is not forgotten");
    assert!(matches!(snapshot.evidence.job.stage, JobStage::Finished { .. }), "{:?}", snapshot.evidence.job.stage);
    assert!(observer.snapshot(&uid).expect("the Job is known").gone);
    observer.forget(&uid);
    observer.pod_deleted(&pod("Succeeded"));
    assert_eq!(observer.snapshot(&uid), None);
}

#[tokio::test(start_paused = true)]
async fn a_standby_does_not_listen() {
    let observer = mk_observer();
    assert!(observer.is_listening());
    observer.stop_listening();
    assert!(!observer.is_listening());
    // It is not deaf for want of a beat that it does not send.
    advance(Duration::from_hours(1)).await;
    assert_eq!(observer.health(), SignalHealth::Receiving);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_is_counted() {
    let observer = mk_observer();
    let mut registry = prometheus_client::registry::Registry::default();
    observer.register(&mut registry);
    observer.watch_failed(Watch::Nodes, Failure::Broken);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes all");
    for line in ["jobwarden_watched_jobs 1", "jobwarden_pods 1", "jobwarden_deaf 0"] {
        assert!(text.lines().any(|shown| shown == line), "{text}");
    }
    assert!(text.contains(r#"jobwarden_watch_up{watch="nodes"} 0"#), "{text}");
    assert!(text.contains(r#"jobwarden_watch_up{watch="jobs"} 1"#), "{text}");
}
