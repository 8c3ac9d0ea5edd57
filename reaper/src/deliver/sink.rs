//! A configured sink: a format and a transport, with one result for all of them.

use std::time::Duration;

use jiff::Timestamp;
use jobwarden_serve::logs::with_causes;

use super::{
    amqp::AmqpSink,
    format::Format,
    http::{HttpError, HttpSink},
    message::{Fault, Message},
    rabbitmq::RabbitMqSink,
    sink_config::{SinkConfig, SinkError, Transport},
};

/// A configured sink.
pub(super) struct Sink {
    pub(super) name: String,
    pub(super) format: Format,
    pub(super) expire_after: Duration,
    pub(super) concurrency: usize,
    pub(super) dead_letter_to: Option<String>,
    client: Client,
}

/// What sends the notifications.
enum Client {
    Http(HttpSink),
    RabbitMq(RabbitMqSink),
    Amqp(AmqpSink),
}

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    /// What the receiver asked for.
    pub(super) retry_after: Option<Duration>,
    /// The error with its causes, without secrets.
    pub(super) error: String,
}

impl Sink {
    pub(super) fn new(config: &SinkConfig) -> Result<Self, SinkError> {
        let SinkConfig { name, transport, format, filter: _, expire_after, concurrency, dead_letter_to } = config;
        let client = match transport {
            Transport::Http(settings) => HttpSink::new(settings).map(Client::Http).map_err(|error| with_causes(&error)),
            Transport::RabbitMq(settings) => {
                RabbitMqSink::new(settings.clone()).map(Client::RabbitMq).map_err(|error| with_causes(&error))
            }
            Transport::Amqp(settings) => {
                AmqpSink::new(settings.clone()).map(Client::Amqp).map_err(|error| with_causes(&error))
            }
        };
        Ok(Self {
            name: name.clone(),
            format: format.clone(),
            expire_after: *expire_after,
            concurrency: *concurrency,
            dead_letter_to: dead_letter_to.clone(),
            client: client.map_err(|problem| SinkError::Settings { sink: name.clone(), problem })?,
        })
    }

    /// The type of its transport, as in the configuration.
    pub(super) fn transport(&self) -> &'static str {
        match &self.client {
            Client::Http(_) => "http",
            Client::RabbitMq(_) => "rabbitmq",
            Client::Amqp(_) => "amqp",
        }
    }

    /// Sends `message`, signed with the time `now` where the transport signs. Returns once the receiver has acknowledged it.
    pub(super) async fn send(&self, message: &Message, now: Timestamp) -> Result<(), Failure> {
        match &self.client {
            Client::Http(sink) => {
                let failed = |error: HttpError| Failure::new(error.fault(), error.retry_after(), &error);
                sink.send(message, now).await.map_err(failed)
            }
            Client::RabbitMq(sink) => {
                Box::pin(sink.send(message)).await.map_err(|error| Failure::new(error.fault(), None, &error))
            }
            Client::Amqp(sink) => {
                Box::pin(sink.send(message)).await.map_err(|error| Failure::new(error.fault(), None, &error))
            }
        }
    }
}

impl Failure {
    fn new(fault: Fault, retry_after: Option<Duration>, error: &dyn std::error::Error) -> Self {
        Self { fault, retry_after, error: with_causes(error) }
    }
}
