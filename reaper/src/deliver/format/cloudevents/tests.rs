use rstest::rstest;
use serde_json::{Value, json};

use super::{schema::violations, *};
use crate::outbox::object::tests::{mk_data, mk_outcome};

/// The schema for receivers, which `cargo xtask gen` writes.
const SCHEMA: &str = include_str!("../../../../../docs/notification.schema.json");

fn body(message: &Message) -> Value {
    serde_json::from_slice(&message.body).expect("JSON")
}

#[test]
fn a_structured_message_is_the_whole_event() {
    let message = structured(&mk_outcome()).expect("serializes");
    assert_eq!((message.id.as_str(), message.content_type), ("1111.final", "application/cloudevents+json"));
    assert_eq!(message.event, []);
    assert_eq!(message.properties, []);
    assert_eq!(body(&message), serde_json::to_value(cloud_event(&mk_outcome())).expect("plain data"));
}

#[test]
fn a_binary_message_is_the_data_with_the_attributes_beside_it() {
    let message = binary(&mk_outcome()).expect("serializes");
    assert_eq!((message.id.as_str(), message.content_type), ("1111.final", "application/json"));
    let attributes: Vec<_> = message.event.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let expected = [
        ("specversion", "1.0"),
        ("id", "1111.final"),
        ("source", "/apis/batch/v1/namespaces/ort/jobs/analyzer-7"),
        ("type", "io.jobwarden.job.lost"),
        ("subject", "ort/analyzer-7"),
        ("time", "2026-01-02T03:04:05Z"),
    ];
    assert_eq!(attributes, expected);
    assert_eq!(message.properties, []);
    assert_eq!(body(&message), serde_json::to_value(mk_data()).expect("plain data"));
}

#[test]
fn both_modes_carry_the_same_event() {
    let (structured, binary) = (structured(&mk_outcome()), binary(&mk_outcome()));
    let (structured, binary) = (structured.expect("serializes"), binary.expect("serializes"));
    let mut assembled = json!({ "datacontenttype": binary.content_type, "data": body(&binary) });
    for (name, value) in &binary.event {
        assembled[*name] = json!(value);
    }
    assert_eq!(assembled, body(&structured));
}

fn committed_schema() -> Value {
    serde_json::from_str(SCHEMA).expect("JSON")
}

#[test]
fn a_notification_is_valid_by_the_committed_schema() {
    let message = structured(&mk_outcome()).expect("serializes");
    assert_eq!(violations(&committed_schema(), &body(&message)), [""; 0]);
}

#[rstest]
#[case("/specversion", json!("0.3"), "/specversion")]
#[case("/data/kind", json!("exploded"), "/data/kind")]
#[case("/data/jobUid", json!(7), "/data/jobUid")]
#[case("/data/attempt", json!(null), "/data/attempt")]
#[case("/data/evidence/0", json!({ "of": "beat" }), "/data/evidence/0/is")]
#[case("/data/usage", json!({ "peakRssBytes": -1, "peakLowerBytes": 0, "cpuMs": 0 }), "/data/usage/peakRssBytes")]
fn the_schema_refuses_what_is_no_notification(#[case] place: &str, #[case] value: Value, #[case] expected: &str) {
    let mut event = body(&structured(&mk_outcome()).expect("serializes"));
    let (parent, key) = place.rsplit_once('/').expect("a pointer");
    match event.pointer_mut(parent).expect("an object or an array") {
        Value::Array(items) => items[0] = value,
        object => object[key] = value,
    }
    let violations = violations(&committed_schema(), &event);
    assert!(violations.iter().any(|violation| violation.starts_with(expected)), "{violations:?}");
}

#[test]
fn the_schema_has_a_version_and_its_required_fields_are_those_that_are_always_sent() {
    let schema = committed_schema();
    assert_eq!(schema["$id"], "https://jobwarden.io/schemas/notification/v1");
    let mut event = serde_json::to_value(cloud_event(&mk_outcome())).expect("plain data");
    for name in ["runId", "jobId", "traceId", "attempt"] {
        event["data"].as_object_mut().expect("an object").remove(name);
    }
    assert_eq!(violations(&schema, &event), [""; 0]);
    for name in ["kind", "namespace", "jobName", "jobUid", "reason", "message", "decidedBy", "evidence", "timeline"] {
        let mut event = event.clone();
        event["data"].as_object_mut().expect("an object").remove(name);
        assert_eq!(violations(&schema, &event), [format!("/data/{name} is missing")]);
    }
}
