//! A request to a receiver of notifications: header lines, an empty line, and a body. An accepted event has what every event has, and says
//! the same in either mode.

#![no_main]

#[allow(dead_code, reason = "the target prints nothing")]
#[path = "../../cli/src/listen/notification.rs"]
mod notification;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

use crate::notification::{Mode, Notification};

fuzz_target!(|data: &[u8]| {
    let split = data.windows(2).position(|two| two == b"\n\n").unwrap_or(data.len());
    let (headers, body) = (headers(&data[..split]), data.get(split + 2..).unwrap_or_default());
    let Ok(notification) = Notification::read(&headers, body) else { return };
    let _ = notification.outcome();
    let Notification::Event { mode, event } = &notification else {
        assert_eq!(notification.id(), None);
        return;
    };
    for name in ["id", "source", "type"] {
        assert!(event[name].as_str().is_some_and(|value| !value.is_empty()), "{name}: {event:?}");
    }
    assert_eq!((&event["specversion"], notification.id()), (&Value::from("1.0"), event["id"].as_str()));
    // What was sent in binary mode can be sent in structured mode.
    if *mode == Mode::Binary {
        assert_eq!(structured(event), *event);
    }
});

/// The lines that HTTP accepts as headers.
fn headers(text: &[u8]) -> HeaderMap {
    let pairs = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        Some((name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?))
    });
    pairs.take(100).collect()
}

/// The event after it was sent in structured mode.
fn structured(event: &Map<String, Value>) -> Map<String, Value> {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/cloudevents+json"))];
    let body = serde_json::to_vec(event).expect("JSON");
    match Notification::read(&headers.into_iter().collect(), &body) {
        Ok(Notification::Event { mode: Mode::Structured, event }) => event,
        other => panic!("{other:?}"),
    }
}
