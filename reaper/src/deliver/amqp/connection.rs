//! One connection to an AMQP 1.0 broker, with one session and one link.

use std::time::Duration;

use fe2o3_amqp::{
    Connection, Sender, Session,
    connection::ConnectionHandle,
    sasl_profile::SaslProfile,
    session::SessionHandle,
    types::{
        definitions::SenderSettleMode,
        messaging::{Body, Message as AmqpMessage, Outcome, Target},
    },
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use super::error::{AmqpError, from_attach, from_open, from_rejection, from_send};
use crate::deliver::broker::{Credentials, Dialed, Disconnector, HEARTBEAT};

/// What the broker calls this client.
const CONTAINER: &str = "jobwarden";
/// The capability of an address that is a queue. Without it Artemis would take a new address for a topic, which drops messages that
/// nobody listens for; JMS clients send it too.
const QUEUE: &str = "queue";

/// A connection over which messages can be sent.
pub(super) struct AmqpConnection {
    queue: String,
    sender: Mutex<Sender>,
    session: SessionHandle<()>,
    connection: ConnectionHandle<()>,
    /// Dropped last: the connection first gets the chance to end in order.
    _disconnector: Disconnector,
}

impl AmqpConnection {
    /// Logs in and attaches a link to the queue. The caller bounds the time.
    pub(super) async fn open(dialed: Dialed, host: &str, queue: &str) -> Result<Self, AmqpError> {
        let Dialed { stream, disconnector, credentials } = dialed;
        let profile = match credentials {
            Some(Credentials { username, password }) => SaslProfile::Plain { username, password },
            None => SaslProfile::Anonymous,
        };
        // The peer sends at least twice within this time; after it the connection counts as dead.
        let idle = u32::try_from(2 * HEARTBEAT.as_millis()).expect("a few seconds");
        let builder = Connection::builder().container_id(CONTAINER).hostname(Some(host)).sasl_hostname(Some(host));
        let opened = builder.idle_time_out(idle).sasl_profile(profile).open_with_stream(stream).await;
        let mut connection = opened.map_err(|error| from_open(error, queue))?;
        let session = Session::begin(&mut connection).await;
        let mut session =
            session.map_err(|error| AmqpError::Broken { queue: queue.to_owned(), said: error.to_string() })?;
        let target = Target::builder().address(queue).capabilities(vec![QUEUE.into()]).build();
        let sender = Sender::builder()
            .name(format!("{CONTAINER}-{queue}"))
            // Nothing is settled before the broker has said what became of it.
            .sender_settle_mode(SenderSettleMode::Unsettled)
            .target(target)
            .attach(&mut session)
            .await
            .map_err(|error| from_attach(error, queue))?;
        let (queue, sender) = (queue.to_owned(), Mutex::new(sender));
        Ok(Self { queue, sender, session, connection, _disconnector: disconnector })
    }

    /// Whether the broker has not ended the connection, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        !self.connection.is_closed() && !self.session.is_ended()
    }

    /// Sends a message and waits at most so long for its outcome.
    pub(super) async fn send(&self, message: AmqpMessage<Body<String>>, wait: Duration) -> Result<(), AmqpError> {
        let queue = || self.queue.clone();
        let until = Instant::now() + wait;
        let transferred = timeout_at(until, async {
            // Held until the message is on the way, which takes credit of the broker, and not until it is settled.
            self.sender.lock().await.send_batchable(message).await
        });
        let settled = match transferred.await {
            Ok(transferred) => transferred.map_err(|error| from_send(error, &self.queue))?,
            Err(_) => return Err(AmqpError::NoCredit { queue: queue(), after: wait }),
        };
        match timeout_at(until, settled).await {
            Ok(Ok(Outcome::Accepted(_))) => Ok(()),
            Ok(Ok(Outcome::Rejected(rejected))) => Err(from_rejection(rejected.error.as_ref(), &self.queue)),
            Ok(Ok(Outcome::Released(_))) => Err(AmqpError::Released { queue: queue() }),
            Ok(Ok(Outcome::Modified(_))) => Err(AmqpError::Modified { queue: queue() }),
            Ok(Err(error)) => Err(from_send(error, &self.queue)),
            Err(_) => Err(AmqpError::SettleTimeout { queue: queue(), after: wait }),
        }
    }
}
