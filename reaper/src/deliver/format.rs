//! From a recorded outcome to a [`Message`], without I/O. Every call for the same outcome gives the same message.

mod cloudevents;
mod ort_server;

use std::collections::BTreeMap;

use jobwarden_common::{names::label, notification::OutcomeData};
use jobwarden_core::outcome::OutcomeName;

pub use self::ort_server::OrtServer;
use super::message::{Message, Unsent};
use crate::outbox::JobOutcome;

/// The label of a Job that a format uses besides the outcome itself.
pub(super) const ENDPOINT_LABEL: &str = label::ORT_WORKER;

/// The format of the notifications of a sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `CloudEvents` 1.0 in structured mode: one JSON object.
    #[default]
    CloudEvents,
    /// `CloudEvents` 1.0 in binary mode: the attributes are headers, the body is the outcome.
    CloudEventsBinary,
    /// ORT Server's messages to its orchestrator.
    OrtServer(OrtServer),
}

impl Format {
    /// The notification of a recorded outcome.
    ///
    /// # Errors
    ///
    /// Returns an error if the outcome has no notification in this format.
    pub(super) fn message(&self, outcome: &JobOutcome) -> Result<Message, Unsent> {
        let encoded = |encoded: serde_json::Result<Message>| {
            encoded.map_err(|error| Unsent::Impossible { reason: "NotEncodable", message: error.to_string() })
        };
        match self {
            Self::CloudEvents => encoded(cloudevents::structured(outcome)),
            Self::CloudEventsBinary => encoded(cloudevents::binary(outcome)),
            Self::OrtServer(ort) => ort.message(&outcome.outcome_name(), &outcome.spec.data, &outcome.spec.labels),
        }
    }

    /// Whether there is a message for such an outcome, or there should be one.
    pub(super) fn wants(&self, name: &OutcomeName, data: &OutcomeData, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::CloudEvents | Self::CloudEventsBinary => true,
            Self::OrtServer(ort) => ort.message(name, data, labels) != Err(Unsent::NotWanted),
        }
    }

    /// Whether the format uses [`ENDPOINT_LABEL`].
    pub(super) fn uses_labels(&self) -> bool {
        matches!(self, Self::OrtServer(_))
    }
}
