//! From a message to the properties of AMQP 0-9-1.

use std::time::SystemTime;

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};

use super::error::RabbitMqError;
use crate::deliver::{
    broker::event_headers,
    message::{Message, Property},
};

/// `delivery_mode` of a message that survives a restart of the broker in a durable queue (AMQP 0-9-1, class basic).
const PERSISTENT: u8 = 2;

/// The properties of `message`, sent at `now`.
pub(super) fn properties(message: &Message, now: SystemTime) -> Result<BasicProperties, RabbitMqError> {
    let mut headers = FieldTable::default();
    for (name, value) in &message.properties {
        let value = match value {
            Property::Text(text) => AMQPValue::LongString(LongString::from(text.as_str())),
            // Receivers in Java cast to Long, which an integer of 32 bits would not survive.
            Property::Long(number) => AMQPValue::LongLongInt(*number),
        };
        headers.insert(short(name)?, value);
    }
    for (name, value) in event_headers(&message.event) {
        headers.insert(short(&name)?, AMQPValue::LongString(LongString::from(value)));
    }
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(BasicProperties::default()
        .with_content_type(short(message.content_type)?)
        .with_content_encoding(short("UTF-8")?)
        .with_headers(headers)
        .with_delivery_mode(PERSISTENT)
        .with_message_id(short(&message.id)?)
        .with_timestamp(seconds))
}

/// A string of at most 255 bytes, the bound of AMQP 0-9-1.
fn short(text: &str) -> Result<ShortString, RabbitMqError> {
    ShortString::try_new(text).map_err(|_| RabbitMqError::TooLong)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::deliver::message::Fault;

    fn message() -> Message {
        Message {
            id: "ort-scanner-7".to_owned(),
            content_type: "application/json",
            event: vec![("type", "io.jobwarden.job.lost".to_owned()), ("datacontenttype", "text/plain".to_owned())],
            properties: vec![("traceId", Property::Text(String::new())), ("runId", Property::Long(7))],
            body: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn a_run_id_is_an_integer_of_64_bits_and_a_message_is_persistent() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700);
        let properties = properties(&message(), now).expect("valid");
        let headers = properties.headers().as_ref().expect("headers").inner();
        assert_eq!(headers["runId"], AMQPValue::LongLongInt(7));
        assert_eq!(headers["traceId"], AMQPValue::LongString("".into()));
        assert_eq!(headers["cloudEvents_type"], AMQPValue::LongString("io.jobwarden.job.lost".into()));
        assert_eq!(headers.len(), 3, "the content type is no header: {headers:?}");
        let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string);
        assert_eq!(text(properties.message_id()).as_deref(), Some("ort-scanner-7"));
        assert_eq!(text(properties.content_type()).as_deref(), Some("application/json"));
        assert_eq!(text(properties.content_encoding()).as_deref(), Some("UTF-8"));
        assert_eq!((*properties.delivery_mode(), *properties.timestamp()), (Some(2), Some(1)));
    }

    #[test]
    fn an_id_that_amqp_cannot_carry_is_a_fault_of_the_message() {
        let message = Message { id: "x".repeat(256), ..message() };
        let error = properties(&message, SystemTime::UNIX_EPOCH).expect_err("too long");
        assert_eq!(error.fault(), Fault::Message);
    }
}
