//! One connection to RabbitMQ with its channels.

use std::{
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_rs::Runtime;
use futures::{FutureExt as _, Stream, StreamExt as _};
use lapin::{
    AsyncTcpStream, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Event,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::FieldTable,
    uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo},
};
use tokio_util::compat::TokioAsyncReadCompatExt as _;

use super::{
    error::{RabbitMqError, classify},
    kit::{Kit, silence_thread, silent},
};
use crate::deliver::broker::{BrokerStream, Credentials, Dialed, Disconnector, HEARTBEAT};

/// The user that RabbitMQ creates, which may connect from the broker's own host only.
const GUEST: &str = "guest";

/// Where messages go.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) virtual_host: String,
    pub(super) queue: String,
}

impl Route {
    fn error(&self, source: lapin::Error, opening: bool) -> RabbitMqError {
        classify(source, &self.queue, &self.virtual_host, opening)
    }
}

/// A connection over which messages can be sent.
///
/// Each message has a channel to itself until the broker has confirmed it. So it is certain which message a returned one is, which lapin
/// derives from the order of confirms on a channel, and not from what was returned.
pub(super) struct RabbitMqConnection {
    route: Route,
    /// Channels without an unconfirmed message.
    idle: Mutex<Vec<Channel>>,
    /// What the broker says about the connection.
    events: Mutex<Events>,
    connection: Connection,
    /// Dropped last: the connection first gets the chance to end in order.
    _disconnector: Disconnector,
}

struct Events {
    stream: Pin<Box<dyn Stream<Item = Event> + Send>>,
    blocked: String,
}

impl RabbitMqConnection {
    /// Logs in over `stream` and checks that the queue exists. The caller bounds the time.
    pub(super) async fn open(dialed: Dialed, route: Route) -> Result<Self, RabbitMqError> {
        let Dialed { stream, disconnector, credentials } = dialed;
        let opened = silent(handshake(stream, credentials, &route)).await;
        let connection = opened.map_err(|source| route.error(source, true))?;
        let stream = Box::pin(connection.events_listener());
        let opened = Self {
            idle: Mutex::default(),
            events: Mutex::new(Events { stream, blocked: String::new() }),
            connection,
            route,
            _disconnector: disconnector,
        };
        let channel = silent(opened.first_channel()).await.map_err(|source| opened.route.error(source, true))?;
        lock(&opened.idle).push(channel);
        Ok(opened)
    }

    /// Whether the broker has not ended the connection, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.connection.status().connected()
    }

    /// Sends a message and waits at most so long for its confirm.
    pub(super) async fn publish(
        &self,
        properties: BasicProperties,
        body: &[u8],
        wait: Duration,
    ) -> Result<(), RabbitMqError> {
        if let Some(blocked) = self.blocked() {
            return Err(blocked);
        }
        let queue = || self.route.queue.clone();
        let confirmed = tokio::time::timeout(wait, silent(self.confirm(properties, body))).await;
        match confirmed {
            // A returned message is acknowledged after its return: it is in no queue, and the broker is done with it.
            Ok(Ok(Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)))) => {
                let reply = format!("{} {}", returned.reply_code, returned.reply_text);
                Err(RabbitMqError::Returned { queue: queue(), reply })
            }
            Ok(Ok(Confirmation::Ack(None))) => Ok(()),
            // Without confirms, which each channel has switched on, a message could be lost.
            Ok(Ok(Confirmation::Nack(None) | Confirmation::NotRequested)) => {
                Err(RabbitMqError::NotAccepted { queue: queue() })
            }
            Ok(Err(source)) => Err(self.route.error(source, false)),
            Err(_) => Err(self.blocked().unwrap_or(RabbitMqError::ConfirmTimeout { queue: queue(), after: wait })),
        }
    }

    /// The confirm of one message. If this ends early, the channel is closed with its unconfirmed message.
    async fn confirm(&self, properties: BasicProperties, body: &[u8]) -> lapin::Result<Confirmation> {
        let idle = lock(&self.idle).pop();
        let channel = match idle {
            Some(channel) => channel,
            None => self.channel().await?,
        };
        let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let queue = self.route.queue.as_str().into();
        let confirm = channel.basic_publish("".into(), queue, mandatory, body, properties).await?;
        let confirmation = confirm.await?;
        lock(&self.idle).push(channel);
        Ok(confirmation)
    }

    async fn first_channel(&self) -> lapin::Result<Channel> {
        let channel = self.channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(self.route.queue.as_str().into(), passive, FieldTable::default()).await?;
        Ok(channel)
    }

    async fn channel(&self) -> lapin::Result<Channel> {
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    /// The error of an attempt while the broker accepts nothing.
    fn blocked(&self) -> Option<RabbitMqError> {
        if !self.connection.status().blocked() {
            return None;
        }
        let mut events = lock(&self.events);
        while let Some(Some(event)) = events.stream.next().now_or_never() {
            if let Event::ConnectionBlocked(reason) = event {
                events.blocked = reason;
            }
        }
        Some(RabbitMqError::Blocked { queue: self.route.queue.clone(), reason: events.blocked.clone() })
    }
}

async fn handshake(stream: BrokerStream, credentials: Option<Credentials>, route: &Route) -> lapin::Result<Connection> {
    let Credentials { username, password } =
        credentials.unwrap_or_else(|| Credentials { username: GUEST.to_owned(), password: GUEST.to_owned() });
    let uri = AMQPUri {
        // Says nothing here: the stream is connected.
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority { userinfo: AMQPUserInfo { username, password }, ..AMQPAuthority::default() },
        vhost: route.virtual_host.clone(),
        query: AMQPQueryString {
            heartbeat: Some(u16::try_from(HEARTBEAT.as_secs()).expect("a few seconds")),
            ..AMQPQueryString::default()
        },
    };
    let stream = Mutex::new(Some(stream.compat()));
    let connect = async move |_, _| {
        silence_thread();
        let stream = lock(&stream).take();
        // Asked for again only if the handshake broke off, and then the stream is gone.
        stream.map(AsyncTcpStream::Plain).ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected).into())
    };
    // Recovery is off unless it is asked for: after a failure this module opens a new connection, and what was not confirmed is sent again.
    let properties = ConnectionProperties::default().with_connection_name("jobwarden".into());
    Connection::connector(uri, Runtime::new(Kit::current()), connect, properties).await
}

/// Nothing behind these locks is left half-written by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
