//! A notification in the form in which a sink sends it.

use bytes::Bytes;

/// One notification, ready to be sent. Every attempt sends the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The name of the outcome, by which receivers deduplicate: `webhook-id` of HTTP, `message-id` of AMQP.
    pub id: String,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The context attributes of a `CloudEvent` in binary mode, without the prefix that each transport puts before them; else empty.
    pub event: Vec<(&'static str, String)>,
    /// Headers (RabbitMQ) or application properties (AMQP 1.0). HTTP has none, because only brokers need them.
    pub properties: Vec<(&'static str, Property)>,
    /// The body, UTF-8.
    pub body: Bytes,
}

/// The value of a property. Receivers depend on the type on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// A string.
    Text(String),
    /// A signed integer of 64 bits: `l` of AMQP 0-9-1, `long` of AMQP 1.0.
    Long(i64),
}

/// Why an outcome is not sent to a sink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// The format has no message for such an outcome.
    #[error("the format of the sink has no message for such an outcome")]
    NotWanted,
    /// The message cannot be made, now or later: a reason in CamelCase and a sentence.
    #[error("{reason}: {message}")]
    Impossible {
        /// The reason, such as `MissingRunId`.
        reason: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
}

/// What a failed attempt says. The breaker of a sink opens for faults of the sink alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Other messages would fail as well: no connection, no response, an overloaded receiver, a queue that does not exist.
    Sink,
    /// This message failed, others may succeed: the receiver cannot process it.
    Message,
    /// The receiver does not want this message, now or later (HTTP 410).
    Refusal,
}
