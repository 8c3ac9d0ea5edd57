//! Reads what was received: a `CloudEvent` in structured or binary mode (HTTP protocol binding 1.0.2, section 3), or something else.

use http::{HeaderMap, header};
use jobwarden_common::notification::OutcomeData;
use serde::Deserialize as _;
use serde_json::{Map, Value};

/// The prefix of the headers of binary mode.
const PREFIX: &str = "ce-";
/// The attributes that every event has.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// What was received.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Notification {
    /// An event, as in structured mode.
    Event {
        /// How it was sent.
        mode: Mode,
        /// Its attributes and `data`.
        event: Map<String, Value>,
    },
    /// Something else.
    Other {
        /// The media type.
        content_type: String,
        /// The body.
        body: String,
    },
}

/// How an event is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The body is the event.
    Structured,
    /// The body is the data, headers are the attributes.
    Binary,
}

/// Why something that says that it is an event is not a valid one.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidEvent {
    /// Several events, or one in another format than JSON.
    #[error("{0} is not supported; send application/cloudevents+json, or binary mode")]
    Format(String),
    /// The body is not JSON.
    #[error("the body is not a JSON object, which the content type says")]
    Json(#[source] serde_json::Error),
    /// An attribute is missing.
    #[error("the CloudEvent has no attribute {0}")]
    Attribute(&'static str),
    /// Another version.
    #[error("the CloudEvent has another specversion than 1.0")]
    Version,
}

impl Notification {
    /// Reads a request.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, InvalidEvent> {
        let content_type = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let content_type = content_type.unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let (mode, event) = match media_type.as_str() {
            "application/cloudevents+json" => {
                (Mode::Structured, serde_json::from_slice(body).map_err(InvalidEvent::Json)?)
            }
            other if other.starts_with("application/cloudevents") => return Err(InvalidEvent::Format(media_type)),
            _ if headers.contains_key("ce-specversion") => (Mode::Binary, binary(headers, &media_type, body)?),
            _ => {
                let body = String::from_utf8_lossy(body).into_owned();
                return Ok(Self::Other { content_type: content_type.into_owned(), body });
            }
        };
        for name in REQUIRED {
            if event.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
                return Err(InvalidEvent::Attribute(name));
            }
        }
        if event["specversion"] != "1.0" {
            return Err(InvalidEvent::Version);
        }
        Ok(Self::Event { mode, event })
    }

    /// The ID of an event.
    pub(super) fn id(&self) -> Option<&str> {
        match self {
            Self::Event { event, .. } => event.get("id").and_then(Value::as_str),
            Self::Other { .. } => None,
        }
    }

    /// The outcome of a Job that the event carries, if this program knows its kind.
    pub(super) fn outcome(&self) -> Option<OutcomeData> {
        match self {
            Self::Event { event, .. } => OutcomeData::deserialize(event.get("data")?).ok(),
            Self::Other { .. } => None,
        }
    }
}

/// The event of a request in binary mode, as it is in structured mode.
fn binary(headers: &HeaderMap, media_type: &str, body: &[u8]) -> Result<Map<String, Value>, InvalidEvent> {
    let attributes = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(PREFIX)?;
        Some((name.to_owned(), Value::String(percent_decoded(value.as_bytes()))))
    });
    let mut event: Map<String, Value> = attributes.collect();
    let is_json = media_type == "application/json" || media_type.ends_with("+json");
    let data = if is_json {
        serde_json::from_slice(body).map_err(InvalidEvent::Json)?
    } else {
        Value::String(String::from_utf8_lossy(body).into_owned())
    };
    event.insert("datacontenttype".to_owned(), Value::String(media_type.to_owned()));
    event.insert("data".to_owned(), data);
    Ok(event)
}

/// The value of an attribute (section 3.1.3.2). What is not a valid sequence stands for itself.
fn percent_decoded(value: &[u8]) -> String {
    let digit = |at: usize| value.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut decoded, mut at) = (Vec::with_capacity(value.len()), 0);
    while let Some(byte) = value.get(at) {
        let escaped = (*byte == b'%').then(|| digit(at + 1).zip(digit(at + 2))).flatten();
        let escaped = escaped.and_then(|(high, low)| u8::try_from(16 * high + low).ok());
        decoded.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn headers(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        headers.iter().map(pair).collect()
    }

    const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json; charset=utf-8");

    #[test]
    fn both_modes_say_the_same() {
        let event = json!({
            "specversion": "1.0", "id": "1111.final", "source": "/apis/batch/v1/namespaces/ort/jobs/größe 7",
            "type": "io.jobwarden.job.lost", "datacontenttype": "application/json", "data": {"kind": "lost"},
        });
        let body = event.to_string();
        let structured = Notification::read(&headers(&[STRUCTURED]), body.as_bytes()).expect("valid");
        let binary = Notification::read(
            &headers(&[
                ("content-type", "application/json"),
                ("ce-specversion", "1.0"),
                ("ce-id", "1111.final"),
                ("ce-source", "/apis/batch/v1/namespaces/ort/jobs/gr%C3%B6%c3%9fe%207"),
                ("ce-type", "io.jobwarden.job.lost"),
                ("webhook-id", "1111.final"),
            ]),
            br#"{"kind": "lost"}"#,
        );
        let expected = event.as_object().expect("an object");
        for (notification, mode) in [(structured, Mode::Structured), (binary.expect("valid"), Mode::Binary)] {
            assert_eq!(notification, Notification::Event { mode, event: expected.clone() });
            assert_eq!(notification.id(), Some("1111.final"));
        }
    }

    #[rstest]
    #[case::not_json("{", "not a JSON object")]
    #[case::no_object("[]", "not a JSON object")]
    #[case::no_id(r#"{"specversion": "1.0", "source": "/s", "type": "t"}"#, "no attribute id")]
    #[case::empty_id(r#"{"specversion": "1.0", "id": "", "source": "/s", "type": "t"}"#, "no attribute id")]
    #[case::id_no_string(r#"{"specversion": "1.0", "id": 7, "source": "/s", "type": "t"}"#, "no attribute id")]
    #[case::other_version(r#"{"specversion": "0.3", "id": "1", "source": "/s", "type": "t"}"#, "another specversion")]
    fn an_invalid_event_is_rejected(#[case] body: &str, #[case] expected: &str) {
        let error = Notification::read(&headers(&[STRUCTURED]), body.as_bytes()).expect_err("invalid");
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[rstest]
    #[case("application/cloudevents-batch+json")]
    #[case("application/cloudevents+avro")]
    fn other_formats_are_named(#[case] media_type: &'static str) {
        let error = Notification::read(&headers(&[("content-type", media_type)]), b"").expect_err("not supported");
        assert!(error.to_string().starts_with(media_type), "{error}");
    }

    #[test]
    fn what_is_no_event_is_kept_as_it_is() {
        let headers = headers(&[("content-type", "application/json")]);
        let expected = Notification::Other { content_type: "application/json".to_owned(), body: "{}".to_owned() };
        assert_eq!(Notification::read(&headers, b"{}").expect("no event"), expected);
    }

    #[rstest]
    #[case("100%25", "100%")]
    #[case("100%", "100%")]
    #[case("%2", "%2")]
    #[case("%zz%20", "%zz ")]
    #[case("%FF", "\u{fffd}")]
    fn attributes_are_percent_decoded(#[case] value: &str, #[case] expected: &str) {
        assert_eq!(percent_decoded(value.as_bytes()), expected);
    }

    proptest! {
        #[test]
        fn nothing_that_is_received_is_a_panic(
            media_type in "application/(json|cloudevents\\+json|x)", id: Vec<u8>, body in "[\\[{\"a:1,}\\]]*",
        ) {
            let mut headers = headers(&[("ce-specversion", "1.0"), ("ce-source", "/s"), ("ce-type", "t")]);
            headers.insert(header::CONTENT_TYPE, HeaderValue::try_from(media_type).expect("ASCII"));
            if let Ok(id) = HeaderValue::from_bytes(&id) {
                headers.insert("ce-id", id);
            }
            if let Ok(notification) = Notification::read(&headers, body.as_bytes()) {
                prop_assert_eq!(notification.outcome(), None);
            }
        }
    }
}
