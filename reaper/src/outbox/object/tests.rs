use std::time::Duration;

use jobwarden_common::{
    names::GROUP,
    notification::{Attempt, Cause, DecidedBy, Fact, Logs, MAX_BYTES, TimelineEntry},
};
use jobwarden_core::outcome::Episode;
use kube::{CustomResourceExt as _, Resource as _, runtime::watcher};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::outbox::{Outbox, cloud_event, fitted};

pub(crate) fn mk_data() -> OutcomeData {
    OutcomeData {
        kind: OutcomeKind::Lost,
        namespace: "ort".to_owned(),
        job_name: "analyzer-7".to_owned(),
        job_uid: "1111".into(),
        run_id: Some("41".into()),
        job_id: Some("7".into()),
        trace_id: Some("0af7".to_owned()),
        attempt: Some(Attempt { pod_uid: "2222".into(), pod_name: "analyzer-7-x".to_owned(), node: Some("n1".into()) }),
        reason: "NodeUnreachable".to_owned(),
        message: "Pod analyzer-7-x on node n1 is lost.".to_owned(),
        work_may_be_done: false,
        cause: Cause::default(),
        decided_by: DecidedBy { row: "P8".to_owned(), rule: "no heartbeat".to_owned() },
        evidence: vec![Fact { of: "beat".to_owned(), is: "expired, last 21s ago".to_owned() }],
        timeline: vec![TimelineEntry { at: "2026-01-02T03:04:05Z".to_owned(), event: "pod scheduled".to_owned() }],
        usage: None,
        logs: None,
        coalesced: None,
    }
}

pub(crate) fn mk_outcome() -> JobOutcome {
    let at = Timestamp::from_second(1_767_323_045).expect("in range");
    let recipients = Recipients { sinks: vec!["ort".to_owned()], ..Recipients::default() };
    JobOutcome::record(&OutcomeName::job_final(&"1111".into()), mk_data(), recipients, at)
}

fn at_version(version: u64, state: SinkState) -> JobOutcome {
    let mut outcome = mk_outcome();
    outcome.metadata.resource_version = Some(version.to_string());
    outcome.status = Some(JobOutcomeStatus::of(vec![SinkStatus { state, ..SinkStatus::untried("ort") }]));
    outcome
}

#[test]
fn the_api_group_is_the_one_in_common() {
    assert_eq!(JobOutcome::group(&()), GROUP);
}

#[test]
fn the_crd_makes_the_spec_immutable_and_merges_sinks_by_name() {
    let crd = serde_json::to_value(JobOutcome::crd()).expect("serializes");
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    assert_eq!(schema["spec"]["x-kubernetes-validations"][0]["rule"], "self == oldSelf");
    assert_eq!(schema["spec"]["properties"]["data"]["type"], "object");
    assert_eq!(schema["spec"]["properties"]["data"]["x-kubernetes-preserve-unknown-fields"], true);
    let sinks = &schema["status"]["properties"]["sinks"];
    assert_eq!(sinks["x-kubernetes-list-type"], "map");
    assert_eq!(sinks["x-kubernetes-list-map-keys"], json!(["name"]));
    let states = &sinks["items"]["properties"]["state"];
    assert_eq!(states["enum"], json!(["pending", "acknowledged", "refused", "dead"]), "{states}");
    assert!(crd["spec"]["versions"][0]["subresources"]["status"].is_object());
    let columns: Vec<_> = crd["spec"]["versions"][0]["additionalPrinterColumns"]
        .as_array()
        .expect("columns")
        .iter()
        .map(|column| column["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(columns, ["Kind", "In", "Job", "Run", "Reason", "Sinks", "Age"]);
}

#[test]
fn every_schema_is_structural() {
    fn check(schema: &serde_json::Value, path: &str) {
        assert!(schema["type"].is_string(), "{path} has no type: {schema}");
        for word in ["oneOf", "anyOf", "allOf", "$ref", "not"] {
            assert!(schema.get(word).is_none(), "{path} has {word}: {schema}");
        }
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            check(schema, &format!("{path}.{name}"));
        }
        if let Some(items) = schema.get("items") {
            check(items, &format!("{path}[]"));
        }
    }
    let crd = serde_json::to_value(JobOutcome::crd()).expect("serializes");
    check(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "");
}

#[test]
fn the_id_of_a_notification_is_the_name_of_its_outcome() {
    let event = cloud_event(&mk_outcome());
    assert_eq!(event.id, "1111.final");
    assert_eq!(event.source, "/apis/batch/v1/namespaces/ort/jobs/analyzer-7");
    assert_eq!(event.event_type, "io.jobwarden.job.lost");
    assert_eq!(event.subject, "ort/analyzer-7");
    assert_eq!(event.time, "2026-01-02T03:04:05Z");
    assert_eq!(event, cloud_event(&mk_outcome()), "every call returns the same notification");
}

#[test]
fn outcome_names_are_derived_from_the_uid_of_the_job_or_pod() {
    let job = JobUid::from("1111");
    let pod = PodUid::from("2222");
    assert_eq!(OutcomeName::job_final(&job).as_str(), "1111.final");
    let names = [
        OutcomeName::notice(job.as_str(), "NotStarting", Episode::default()),
        OutcomeName::attempt_failed(&pod, Episode::default()),
        OutcomeName::notice(pod.as_str(), "NodeUnreachable", Episode::default()),
        OutcomeName::recovered(pod.as_str(), Episode::default()),
    ];
    assert_eq!(
        names.map(|name| name.to_string()),
        ["1111.suspect.not-starting", "2222.attempt-failed", "2222.suspect.node-unreachable", "2222.recovered"]
    );
}

#[test]
fn data_that_fits_is_not_truncated() {
    assert_eq!(fitted(mk_data()), mk_data());
}

#[test]
fn an_id_that_is_too_long_is_left_out() {
    let data = fitted(OutcomeData { run_id: Some("r".repeat(5000).into()), ..mk_data() });
    assert_eq!(data.run_id, None);
    assert_eq!(data.job_id, mk_data().job_id);
}

#[test]
fn a_long_timeline_keeps_its_beginning_and_end() {
    let entry = |n: usize| TimelineEntry { at: "2026-01-02T03:04:05Z".to_owned(), event: format!("event {n}") };
    let data = fitted(OutcomeData { timeline: (0..1000).map(entry).collect(), ..mk_data() });
    assert_eq!(data.timeline.first(), Some(&entry(0)));
    assert_eq!(data.timeline.last(), Some(&entry(999)));
    assert!(data.timeline.iter().any(|entry| entry.event == "801 entries are left out here"));
}

/// With 64 KiB in all, of which these messages take most.
#[test]
fn log_lines_are_cut_before_anything_else_and_the_oldest_first() {
    let lines: Vec<_> = (0..20).map(|n| format!("{n:02} {}", "x".repeat(497))).collect();
    let logs = Logs { container: Some("main".to_owned()), lines: lines.clone(), ..Logs::default() };
    let fact = |n: usize| Fact { of: n.to_string(), is: "y".repeat(4000) };
    let with =
        |facts: usize| OutcomeData { evidence: (0..facts).map(fact).collect(), logs: Some(logs.clone()), ..mk_data() };
    assert_eq!(fitted(with(12)), with(12), "all of it fits");

    let cut = fitted(with(14));
    let kept = cut.logs.expect("some lines are left");
    assert!(kept.truncated && !kept.lines.is_empty() && kept.lines.len() < 20, "{} lines", kept.lines.len());
    assert!(lines.ends_with(&kept.lines), "the oldest went");
    assert_eq!(cut.evidence, with(14).evidence, "nothing else was cut");

    let cut = fitted(with(40));
    assert_eq!(cut.logs, Some(Logs { lines: Vec::new(), truncated: true, ..logs }));
    assert_eq!(cut.evidence.len(), 40, "the texts are shortened");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_notification_never_exceeds_the_maximum_size(
        message in "\\PC{0,20000}",
        nasty in "[\u{0}-\u{1f}\"\\\\]{0,20000}",
        entries in 0_usize..2000,
        length in 0_usize..5000,
        id in "\\PC{0,2000}",
        lines in prop::collection::vec("\\PC{0,1000}", 0..200),
    ) {
        let entry = |n: usize| TimelineEntry { at: n.to_string(), event: "e".repeat(length) };
        let outcome = JobOutcome::record(
            &OutcomeName::job_final(&"1111".into()),
            OutcomeData {
                message,
                reason: nasty.clone(),
                cause: Cause { message: Some(nasty.clone()), reason: Some(nasty.clone()), ..Cause::default() },
                evidence: vec![Fact { of: nasty.clone(), is: nasty }],
                timeline: (0..entries).map(entry).collect(),
                run_id: Some(id.clone().into()),
                job_id: Some(id.clone().into()),
                trace_id: Some(id),
                logs: Some(Logs { lines, ..Logs::default() }),
                ..mk_data()
            },
            Recipients::default(),
            Timestamp::UNIX_EPOCH,
        );
        let encoded = serde_json::to_vec(&cloud_event(&outcome)).expect("serializes");
        prop_assert!(encoded.len() <= MAX_BYTES, "{} bytes", encoded.len());
    }
}

#[test]
fn the_body_of_a_settled_outcome_is_dropped() {
    let outbox = Outbox::new();
    let name = mk_outcome().outcome_name();
    outbox.note(at_version(1, SinkState::Pending));
    assert!(outbox.get(&name).expect("noted").outcome.is_some());
    outbox.note(at_version(2, SinkState::Acknowledged));
    assert!(outbox.get(&name).expect("noted").settled());
    assert_eq!(outbox.of_job(&"1111".into()), [(name, true)].into());
}

#[test]
fn a_late_watch_event_does_not_overwrite_a_newer_write() {
    let outbox = Outbox::new();
    let name = mk_outcome().outcome_name();
    outbox.note(at_version(10, SinkState::Acknowledged));
    outbox.note(at_version(9, SinkState::Pending));
    assert!(outbox.get(&name).expect("noted").settled());
}

#[test]
fn an_outcome_that_was_recorded_again_replaces_one_of_a_newer_version() {
    let outbox = Outbox::new();
    let name = mk_outcome().outcome_name();
    outbox.note(at_version(10, SinkState::Acknowledged));
    let mut again = at_version(3, SinkState::Pending);
    again.spec.created_at += Duration::from_mins(1);
    outbox.note(again);
    assert!(!outbox.get(&name).expect("noted").settled());
    assert_eq!(outbox.of_job(&"1111".into()).len(), 1);
}

#[test]
fn what_is_listed_after_a_restore_replaces_newer_versions() {
    let outbox = Outbox::new();
    let name = mk_outcome().outcome_name();
    outbox.note(at_version(10, SinkState::Acknowledged));
    outbox.forget_versions();
    outbox.apply(watcher::Event::Init);
    outbox.apply(watcher::Event::InitApply(at_version(3, SinkState::Pending)));
    outbox.apply(watcher::Event::InitDone);
    assert!(!outbox.get(&name).expect("listed").settled());
    // From then on the versions of the new history are compared.
    outbox.note(at_version(4, SinkState::Acknowledged));
    outbox.note(at_version(3, SinkState::Pending));
    assert!(outbox.get(&name).expect("listed").settled());
}

#[test]
fn a_new_list_removes_outcomes_that_are_gone_and_no_others() {
    let outbox = Outbox::new();
    let name = mk_outcome().outcome_name();
    outbox.apply(watcher::Event::Init);
    outbox.apply(watcher::Event::InitApply(at_version(1, SinkState::Pending)));
    assert!(!outbox.synced());
    outbox.apply(watcher::Event::InitDone);
    assert!(outbox.synced() && outbox.get(&name).is_some());
    // An outcome that is written during a list, and is not part of it, stays.
    outbox.apply(watcher::Event::Init);
    outbox.note(at_version(2, SinkState::Pending));
    outbox.apply(watcher::Event::InitDone);
    assert!(outbox.get(&name).is_some());
    outbox.apply(watcher::Event::Init);
    outbox.apply(watcher::Event::InitDone);
    assert!(outbox.get(&name).is_none());
    assert!(outbox.of_job(&"1111".into()).is_empty());
}

#[test]
fn a_change_is_reported_once_by_job() {
    let outbox = Outbox::new();
    let mut changes = outbox.subscribe();
    outbox.note(at_version(1, SinkState::Pending));
    assert!(changes.has_changed().expect("open"));
    changes.borrow_and_update();
    assert_eq!(outbox.take_changed(), ["1111".into()].into());
    assert!(outbox.take_changed().is_empty());
}
