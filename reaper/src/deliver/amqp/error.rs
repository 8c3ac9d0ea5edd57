//! Why a broker did not accept a message over AMQP 1.0.

use std::{sync::Arc, time::Duration};

use fe2o3_amqp::{
    connection::OpenError,
    link::{DetachError, LinkStateError, SendError, SenderAttachError},
    types::definitions::{AmqpError as Condition, Error as Said, ErrorCondition, LinkError},
};

use crate::deliver::{broker::ConnectError, message::Fault};

/// Why a message was not accepted. Shown in the outcome's status, so without credentials and bodies.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AmqpError {
    /// There is no connection.
    #[error("cannot connect to the AMQP broker for queue {queue}")]
    Connect {
        /// The queue.
        queue: String,
        /// The cause. Shared, because all sends that waited for the connection fail with it.
        source: Arc<ConnectError>,
    },
    /// The connection was not ready in time.
    #[error(
        "no connection to the AMQP broker within {after:?} for queue {queue}; check url and the load of the broker"
    )]
    ConnectTimeout {
        /// The queue.
        queue: String,
        /// The timeout of the settings.
        after: Duration,
    },
    /// The broker refuses the credentials, or the user may not send to the queue.
    #[error(
        "the AMQP broker refused the login or the permission to send to queue {queue} ({said}); check credentialsFile and the user's permissions"
    )]
    Login {
        /// The queue.
        queue: String,
        /// What the broker said.
        said: String,
    },
    /// The queue does not exist.
    #[error("queue {queue} does not exist on the AMQP broker ({said}); create it, or check queue")]
    NoQueue {
        /// The queue.
        queue: String,
        /// What the broker said.
        said: String,
    },
    /// The broker gives no credit: it accepts no messages for a while.
    #[error(
        "the AMQP broker accepts no messages for queue {queue} (no link credit within {after:?}); check the queue's limits, memory and disk"
    )]
    NoCredit {
        /// The queue.
        queue: String,
        /// The timeout of the settings.
        after: Duration,
    },
    /// The broker does not settle.
    #[error(
        "the AMQP broker did not settle the message within {after:?} for queue {queue}; check the broker and the network to it"
    )]
    SettleTimeout {
        /// The queue.
        queue: String,
        /// The timeout of the settings.
        after: Duration,
    },
    /// The broker rejected the message.
    #[error("the AMQP broker rejected the message for queue {queue} ({said})")]
    Rejected {
        /// The queue.
        queue: String,
        /// What the broker said.
        said: String,
        /// Whether it would reject other messages as well.
        fault: Fault,
    },
    /// The broker did not process the message.
    #[error(
        "the AMQP broker released the message for queue {queue} without processing it; check the queue's limits and routing"
    )]
    Released {
        /// The queue.
        queue: String,
    },
    /// The broker failed to process the message.
    #[error("the AMQP broker could not process the message for queue {queue}; check the broker's log")]
    Modified {
        /// The queue.
        queue: String,
    },
    /// The connection, the session or the link ended.
    #[error("the connection to the AMQP broker failed for queue {queue}: {said}")]
    Broken {
        /// The queue.
        queue: String,
        /// What happened.
        said: String,
    },
    /// The message is larger than the broker permits.
    #[error("the message is larger than the AMQP broker permits for queue {queue}; raise the broker's limit")]
    TooLarge {
        /// The queue.
        queue: String,
    },
    /// The body cannot be a string.
    #[error("the body is not UTF-8, which the value section needs; set body: data")]
    NotText,
}

impl AmqpError {
    /// What the failure says about the sink.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Rejected { fault, .. } => *fault,
            Self::Modified { .. } | Self::TooLarge { .. } | Self::NotText => Fault::Message,
            _ => Fault::Sink,
        }
    }

    /// Whether the connection is still of use: the broker has answered for this message alone, or has not seen it.
    pub(super) fn keeps_connection(&self) -> bool {
        matches!(self, Self::Rejected { fault: Fault::Message, .. } | Self::Modified { .. } | Self::NotText)
    }
}

/// What a failure to open the connection says.
pub(super) fn from_open(error: OpenError, queue: &str) -> AmqpError {
    let queue = queue.to_owned();
    match error {
        OpenError::SaslError { code, .. } => AmqpError::Login { queue, said: format!("SASL outcome {code:?}") },
        OpenError::RemoteClosedWithError(said) => from_broker(&said, queue),
        other => AmqpError::Broken { queue, said: other.to_string() },
    }
}

/// What a failure to attach the link says.
pub(super) fn from_attach(error: SenderAttachError, queue: &str) -> AmqpError {
    let queue = queue.to_owned();
    match error {
        SenderAttachError::RemoteClosedWithError(said) => from_broker(&said, queue),
        other => AmqpError::Broken { queue, said: other.to_string() },
    }
}

/// What a failure to send says.
pub(super) fn from_send(error: SendError, queue: &str) -> AmqpError {
    let queue = queue.to_owned();
    match error {
        SendError::MessageSizeExceeded(_) => AmqpError::TooLarge { queue },
        SendError::LinkStateError(
            LinkStateError::RemoteClosedWithError(said) | LinkStateError::RemoteDetachedWithError(said),
        )
        | SendError::Detached(DetachError::RemoteClosedWithError(said) | DetachError::RemoteDetachedWithError(said)) => {
            from_broker(&said, queue)
        }
        other => AmqpError::Broken { queue, said: other.to_string() },
    }
}

/// The outcome `rejected`. Without a reason it concerns the message.
pub(super) fn from_rejection(said: Option<&Said>, queue: &str) -> AmqpError {
    // A full queue and a missing right reject every message.
    let of_sink = [
        Condition::ResourceLimitExceeded,
        Condition::UnauthorizedAccess,
        Condition::NotFound,
        Condition::InternalError,
    ];
    let fault = match said.map(|said| &said.condition) {
        Some(ErrorCondition::AmqpError(condition)) if of_sink.contains(condition) => Fault::Sink,
        _ => Fault::Message,
    };
    let said = said.map_or_else(|| "no reason given".to_owned(), shown);
    AmqpError::Rejected { queue: queue.to_owned(), said, fault }
}

/// An error with which the broker ended the connection or the link.
fn from_broker(said: &Said, queue: String) -> AmqpError {
    let text = shown(said);
    match &said.condition {
        ErrorCondition::AmqpError(Condition::UnauthorizedAccess) => AmqpError::Login { queue, said: text },
        ErrorCondition::AmqpError(Condition::NotFound | Condition::ResourceDeleted) => {
            AmqpError::NoQueue { queue, said: text }
        }
        ErrorCondition::LinkError(LinkError::MessageSizeExceeded) => AmqpError::TooLarge { queue },
        _ => AmqpError::Broken { queue, said: text },
    }
}

/// Condition and description, without the map of further facts, in which a broker may put anything.
fn shown(said: &Said) -> String {
    let condition = match &said.condition {
        ErrorCondition::Custom(condition) => condition.to_string(),
        known => format!("{known:?}"),
    };
    match &said.description {
        Some(description) => format!("{condition}: {description}"),
        None => condition,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Some(Condition::ResourceLimitExceeded), Fault::Sink)]
    #[case(Some(Condition::UnauthorizedAccess), Fault::Sink)]
    #[case(Some(Condition::DecodeError), Fault::Message)]
    #[case(None, Fault::Message)]
    fn a_rejection_is_a_fault_of_the_message_unless_its_reason_holds_for_all(
        #[case] condition: Option<Condition>,
        #[case] fault: Fault,
    ) {
        let said = condition.map(|condition| Said::new(condition, Some("said by the broker".to_owned()), None));
        let error = from_rejection(said.as_ref(), "q");
        assert_eq!(error.fault(), fault, "{error}");
        assert_eq!(error.keeps_connection(), fault == Fault::Message);
    }

    #[test]
    fn a_link_that_the_broker_closes_says_whether_the_queue_exists() {
        let said = |condition: Condition| Said::new(condition, Some("said".to_owned()), None);
        let attach = |condition| from_attach(SenderAttachError::RemoteClosedWithError(said(condition)), "q");
        assert!(matches!(attach(Condition::NotFound), AmqpError::NoQueue { .. }));
        assert!(matches!(attach(Condition::UnauthorizedAccess), AmqpError::Login { .. }));
        assert!(matches!(attach(Condition::InternalError), AmqpError::Broken { .. }));
    }
}
