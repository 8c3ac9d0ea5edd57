//! From a message to the sections of AMQP 1.0.

use fe2o3_amqp::types::{
    messaging::{AmqpValue, ApplicationProperties, Batch, Body, Data, Header, Message as AmqpMessage, Properties},
    primitives::{Binary, OrderedMap, SimpleValue, Timestamp},
};

use super::error::AmqpError;
use crate::deliver::{
    broker::{BodySection, event_headers},
    message::{Message, Property},
};

/// The AMQP 1.0 message of `message`, sent at `now` in milliseconds since the epoch.
pub(super) fn encode(
    message: &Message,
    section: BodySection,
    now: i64,
) -> Result<AmqpMessage<Body<String>>, AmqpError> {
    let mut application = OrderedMap::new();
    for (name, value) in &message.properties {
        let value = match value {
            Property::Text(text) => SimpleValue::String(text.clone()),
            Property::Long(number) => SimpleValue::Long(*number),
        };
        application.insert((*name).to_owned(), value);
    }
    for (name, value) in event_headers(&message.event) {
        application.insert(name, SimpleValue::String(value.to_owned()));
    }
    let body = match section {
        BodySection::Value => {
            let text = String::from_utf8(message.body.to_vec()).map_err(|_| AmqpError::NotText)?;
            Body::Value(AmqpValue(text))
        }
        BodySection::Data => Body::Data(Batch::new(vec![Data(Binary::from(message.body.to_vec()))])),
    };
    let properties = Properties::builder()
        .message_id(message.id.clone())
        .content_type(message.content_type)
        .creation_time(Timestamp::from(now))
        .build();
    Ok(AmqpMessage {
        header: Some(Header::builder().durable(true).build()),
        delivery_annotations: None,
        message_annotations: None,
        properties: Some(properties),
        application_properties: Some(ApplicationProperties(application)),
        body,
        footer: None,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fe2o3_amqp::types::messaging::MessageId;

    use super::*;

    fn message(body: &'static [u8]) -> Message {
        Message {
            id: "ort-scanner-7".to_owned(),
            content_type: "application/json",
            event: vec![("type", "io.jobwarden.job.lost".to_owned())],
            properties: vec![("traceId", Property::Text("t".to_owned())), ("runId", Property::Long(7))],
            body: Bytes::from_static(body),
        }
    }

    #[test]
    fn a_run_id_is_a_long_and_a_message_is_durable() {
        let encoded = encode(&message(b"{}"), BodySection::Value, 1).expect("text");
        let application = encoded.application_properties.expect("properties").0;
        assert_eq!(application.get("runId"), Some(&SimpleValue::Long(7)));
        assert_eq!(application.get("traceId"), Some(&SimpleValue::String("t".to_owned())));
        let event = SimpleValue::String("io.jobwarden.job.lost".to_owned());
        assert_eq!(application.get("cloudEvents_type"), Some(&event));
        assert!(encoded.header.expect("a header").durable);
        let properties = encoded.properties.expect("properties");
        assert_eq!(properties.message_id, Some(MessageId::String("ort-scanner-7".to_owned())));
        assert_eq!(encoded.body, Body::Value(AmqpValue("{}".to_owned())));
    }

    #[test]
    fn a_data_section_takes_any_bytes_and_a_value_only_text() {
        assert!(encode(&message(b"\xff"), BodySection::Data, 1).is_ok_and(|encoded| encoded.body.is_data()));
        assert!(matches!(encode(&message(b"\xff"), BodySection::Value, 1), Err(AmqpError::NotText)));
    }
}
