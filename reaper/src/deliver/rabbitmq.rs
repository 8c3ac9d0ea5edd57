//! Sends messages to a queue of RabbitMQ, over its own protocol AMQP 0-9-1.
//!
//! A message is acknowledged when the broker has confirmed it and has not returned it: then it is in the queue, and on disk if the queue is
//! durable. Everything else is a failed attempt, after which the message may be in the queue nevertheless. After a failure the next
//! attempt opens a new connection; when that is, is decided by the queue of the sink, not here.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::Semaphore;

mod connection;
mod error;
mod kit;
mod properties;

pub use self::error::RabbitMqError;
use self::{
    connection::{RabbitMqConnection, Route},
    properties::properties,
};
use super::{
    broker::{BrokerSettings, CONCURRENT_SENDS, Dialer, Endpoint, SettingsError, Shared},
    message::Message,
};

/// A sink that sends to a queue of RabbitMQ.
pub struct RabbitMqSink {
    dialer: Dialer,
    route: Route,
    timeout: Duration,
    slots: Semaphore,
    connection: Shared<RabbitMqConnection, RabbitMqError>,
}

impl RabbitMqSink {
    /// Checks the settings. The connection is opened by the first message.
    ///
    /// # Errors
    ///
    /// Returns an error if the settings are not valid.
    pub fn new(settings: BrokerSettings) -> Result<Self, SettingsError> {
        settings.check()?;
        let BrokerSettings { url, queue, credentials_file, credentials, ca_file, timeout, body } = settings;
        if body.is_some() {
            return Err(SettingsError::Body);
        }
        let endpoint = Endpoint::parse(&url)?;
        let route = Route { virtual_host: endpoint.virtual_host().to_owned(), queue };
        Ok(Self {
            dialer: Dialer { endpoint, credentials_file, credentials, ca_file },
            route,
            timeout,
            slots: Semaphore::new(CONCURRENT_SENDS),
            connection: Shared::new(),
        })
    }

    /// Sends a message. `Ok` if the broker has confirmed it and it is in the queue.
    ///
    /// # Errors
    ///
    /// Returns an error if the message was not confirmed. It may be in the queue nevertheless.
    pub async fn send(&self, message: &Message) -> Result<(), RabbitMqError> {
        let properties = properties(message, SystemTime::now())?;
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let connection = self.connection.get(RabbitMqConnection::is_open, self.open()).await?;
        let sent = connection.publish(properties, &message.body, self.timeout).await;
        if sent.as_ref().is_err_and(|error| !error.keeps_connection()) {
            self.connection.give_up(&connection).await;
        }
        sent
    }

    async fn open(&self) -> Result<RabbitMqConnection, RabbitMqError> {
        let queue = || self.route.queue.clone();
        let open = async {
            let dialed = self.dialer.dial().await;
            let dialed =
                dialed.map_err(|source| RabbitMqError::Connect { queue: queue(), source: Arc::new(source) })?;
            RabbitMqConnection::open(dialed, self.route.clone()).await
        };
        let opened = tokio::time::timeout(self.timeout, open).await;
        opened.unwrap_or_else(|_| Err(RabbitMqError::ConnectTimeout { queue: queue(), after: self.timeout }))
    }
}

#[cfg(test)]
mod tests;
