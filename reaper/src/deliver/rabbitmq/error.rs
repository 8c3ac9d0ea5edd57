//! Why RabbitMQ did not acknowledge a message.

use std::{sync::Arc, time::Duration};

use lapin::{
    ErrorKind,
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
};

use crate::deliver::{broker::ConnectError, message::Fault};

/// Why a message was not acknowledged. Shown in the outcome's status, so without credentials and bodies.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RabbitMqError {
    /// There is no connection.
    #[error("cannot connect to RabbitMQ for queue {queue}")]
    Connect {
        /// The queue.
        queue: String,
        /// The cause. Shared, because all sends that waited for the connection fail with it.
        source: Arc<ConnectError>,
    },
    /// The connection was not ready in time.
    #[error("no connection to RabbitMQ within {after:?} for queue {queue}; check url and the load of the broker")]
    ConnectTimeout {
        /// The queue.
        queue: String,
        /// The timeout of the settings.
        after: Duration,
    },
    /// The broker refuses the credentials or the virtual host.
    #[error(
        "RabbitMQ refused the login for queue {queue}; check credentialsFile and the user's permissions on virtual host {virtual_host}"
    )]
    Login {
        /// The queue.
        queue: String,
        /// The virtual host.
        virtual_host: String,
        /// What the broker said.
        source: Arc<lapin::Error>,
    },
    /// The queue does not exist.
    #[error("queue {queue} does not exist in virtual host {virtual_host}; create it, because jobwarden never does")]
    NoQueue {
        /// The queue.
        queue: String,
        /// The virtual host.
        virtual_host: String,
    },
    /// The broker accepts no messages for a while.
    #[error(
        "RabbitMQ blocks publishers ({reason}), so nothing reaches queue {queue}; free memory or disk of the broker"
    )]
    Blocked {
        /// The queue.
        queue: String,
        /// The broker's reason, such as `low on memory`.
        reason: String,
    },
    /// The broker returned the message because no queue takes it.
    #[error(
        "RabbitMQ returned the message because it could not be routed to queue {queue} ({reply}); check that the queue exists"
    )]
    Returned {
        /// The queue.
        queue: String,
        /// The broker's reason, such as `NO_ROUTE`.
        reply: String,
    },
    /// The broker could not take responsibility for the message.
    #[error("RabbitMQ did not accept the message for queue {queue}; check the queue's limits and the broker's log")]
    NotAccepted {
        /// The queue.
        queue: String,
    },
    /// The broker does not confirm.
    #[error("no confirm from RabbitMQ within {after:?} for queue {queue}; check the broker and the network to it")]
    ConfirmTimeout {
        /// The queue.
        queue: String,
        /// The timeout of the settings.
        after: Duration,
    },
    /// The connection or the channel ended.
    #[error("the connection to RabbitMQ failed for queue {queue}")]
    Broken {
        /// The queue.
        queue: String,
        /// The cause.
        source: Arc<lapin::Error>,
    },
    /// The broker has a limit for the size of messages.
    #[error("RabbitMQ refused the message for queue {queue} because of its size or its properties")]
    Invalid {
        /// The queue.
        queue: String,
        /// What the broker said.
        source: Arc<lapin::Error>,
    },
    /// A value does not fit into the protocol.
    #[error(
        "the message ID, the content type or the name of a header is longer than 255 bytes, which AMQP 0-9-1 does not permit"
    )]
    TooLong,
}

impl RabbitMqError {
    /// What the failure says about the sink.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Invalid { .. } | Self::TooLong => Fault::Message,
            _ => Fault::Sink,
        }
    }

    /// Whether the connection is still of use.
    pub(super) fn keeps_connection(&self) -> bool {
        // The broker says when it accepts messages again. A new connection would be blocked as well, and each one that is given up leaves
        // the broker with a copy of the message that it reads later.
        matches!(self, Self::Blocked { .. } | Self::TooLong)
    }
}

/// What an error of lapin says, while a connection is opened (`opening`) or a message is sent.
pub(super) fn classify(source: lapin::Error, queue: &str, virtual_host: &str, opening: bool) -> RabbitMqError {
    let (queue, virtual_host) = (queue.to_owned(), virtual_host.to_owned());
    let kind = match source.kind() {
        ErrorKind::ProtocolError(error) => Some(error.kind().clone()),
        _ => None,
    };
    let source = Arc::new(source);
    match kind {
        Some(AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)) => RabbitMqError::NoQueue { queue, virtual_host },
        Some(
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)
            | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED | AMQPHardError::INVALIDPATH),
        ) => RabbitMqError::Login { queue, virtual_host, source },
        Some(AMQPErrorKind::Soft(AMQPSoftError::CONTENTTOOLARGE | AMQPSoftError::PRECONDITIONFAILED)) if !opening => {
            RabbitMqError::Invalid { queue, source }
        }
        _ => RabbitMqError::Broken { queue, source },
    }
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(AMQPSoftError::NOTFOUND.into(), false, Fault::Sink, "does not exist")]
    #[case(AMQPSoftError::ACCESSREFUSED.into(), true, Fault::Sink, "refused the login")]
    #[case(AMQPHardError::NOTALLOWED.into(), true, Fault::Sink, "refused the login")]
    #[case(AMQPSoftError::PRECONDITIONFAILED.into(), false, Fault::Message, "because of its size")]
    #[case(AMQPSoftError::PRECONDITIONFAILED.into(), true, Fault::Sink, "the connection to RabbitMQ failed")]
    #[case(AMQPHardError::CONNECTIONFORCED.into(), false, Fault::Sink, "the connection to RabbitMQ failed")]
    fn what_the_broker_says_decides_whose_fault_it_is(
        #[case] kind: AMQPErrorKind,
        #[case] opening: bool,
        #[case] fault: Fault,
        #[case] text: &str,
    ) {
        let source = ErrorKind::ProtocolError(AMQPError::new(kind, "said by the broker".into())).into();
        let error = classify(source, "orchestrator_queue", "/", opening);
        assert_eq!(error.fault(), fault);
        let shown = error.to_string();
        assert!(shown.contains(text) && shown.contains("orchestrator_queue"), "{shown}");
    }
}
