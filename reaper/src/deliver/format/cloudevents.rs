//! `CloudEvents` 1.0, structured and binary.
//!
//! In structured mode the body is the whole event. In binary mode the body is the event's data alone, and its attributes are headers of
//! HTTP (`ce-id`, `CloudEvents` HTTP binding 1.0, 3.1.3) or application properties of AMQP (`cloudEvents:id`, AMQP binding 1.0, 3.1.3).

use jobwarden_common::notification::CloudEvent;

use super::super::message::Message;
use crate::outbox::{JobOutcome, cloud_event};

#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;

/// The media type of an event in structured JSON mode (`CloudEvents` JSON format 1.0, section 3).
const STRUCTURED: &str = "application/cloudevents+json";

/// The media type of the data: `datacontenttype` of every event, which binary mode has as the content type of the message.
const DATA: &str = "application/json";

/// The event in structured mode.
pub(super) fn structured(outcome: &JobOutcome) -> Result<Message, serde_json::Error> {
    let event = cloud_event(outcome);
    let body = serde_json::to_vec(&event)?.into();
    Ok(Message { id: event.id, content_type: STRUCTURED, event: Vec::new(), properties: Vec::new(), body })
}

/// The event in binary mode. The values of its attributes are as they are: each transport encodes them.
pub(super) fn binary(outcome: &JobOutcome) -> Result<Message, serde_json::Error> {
    let CloudEvent { specversion, id, source, event_type, subject, time, datacontenttype: _, data } =
        cloud_event(outcome);
    let body = serde_json::to_vec(&data)?.into();
    let event = vec![
        ("specversion", specversion),
        ("id", id.clone()),
        ("source", source),
        ("type", event_type),
        ("subject", subject),
        ("time", time),
    ];
    Ok(Message { id, content_type: DATA, event, properties: Vec::new(), body })
}
