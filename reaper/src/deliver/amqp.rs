//! Sends messages to a queue over AMQP 1.0: Apache Artemis, Azure Service Bus, RabbitMQ from version 4.
//!
//! A message is acknowledged when the broker has settled it as *accepted*. Everything else is a failed attempt, after which the message
//! may be in the queue nevertheless. After a failure the next attempt opens a new connection; when that is, is decided by the queue of
//! the sink, not here.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::Semaphore;

mod connection;
mod encode;
mod error;

pub use self::error::AmqpError;
use self::{connection::AmqpConnection, encode::encode};
use super::{
    broker::{BodySection, BrokerSettings, CONCURRENT_SENDS, Dialer, Endpoint, SettingsError, Shared},
    message::Message,
};

/// A sink that sends to a queue over AMQP 1.0.
pub struct AmqpSink {
    dialer: Dialer,
    queue: String,
    section: BodySection,
    timeout: Duration,
    slots: Semaphore,
    connection: Shared<AmqpConnection, AmqpError>,
}

impl AmqpSink {
    /// Checks the settings. The connection is opened by the first message.
    ///
    /// # Errors
    ///
    /// Returns an error if the settings are not valid.
    pub fn new(settings: BrokerSettings) -> Result<Self, SettingsError> {
        settings.check()?;
        let BrokerSettings { url, queue, credentials_file, credentials, ca_file, timeout, body } = settings;
        let endpoint = Endpoint::parse(&url)?.without_path()?;
        Ok(Self {
            dialer: Dialer { endpoint, credentials_file, credentials, ca_file },
            queue,
            section: body.unwrap_or(BodySection::Value),
            timeout,
            slots: Semaphore::new(CONCURRENT_SENDS),
            connection: Shared::new(),
        })
    }

    /// Sends a message. `Ok` if the broker has accepted it.
    ///
    /// # Errors
    ///
    /// Returns an error if the message was not accepted. It may be in the queue nevertheless.
    pub async fn send(&self, message: &Message) -> Result<(), AmqpError> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let encoded = encode(message, self.section, i64::try_from(since.as_millis()).unwrap_or(i64::MAX))?;
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let connection = self.connection.get(AmqpConnection::is_open, self.open()).await?;
        let sent = connection.send(encoded, self.timeout).await;
        if sent.as_ref().is_err_and(|error| !error.keeps_connection()) {
            self.connection.give_up(&connection).await;
        }
        sent
    }

    async fn open(&self) -> Result<AmqpConnection, AmqpError> {
        let queue = || self.queue.clone();
        let open = async {
            let dialed = self.dialer.dial().await;
            let dialed = dialed.map_err(|source| AmqpError::Connect { queue: queue(), source: Arc::new(source) })?;
            AmqpConnection::open(dialed, &self.dialer.endpoint.host, &self.queue).await
        };
        let opened = tokio::time::timeout(self.timeout, open).await;
        opened.unwrap_or_else(|_| Err(AmqpError::ConnectTimeout { queue: queue(), after: self.timeout }))
    }
}

#[cfg(test)]
mod tests;
