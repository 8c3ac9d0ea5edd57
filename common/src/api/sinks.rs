//! The state of the sinks.

use serde::{Deserialize, Serialize};

/// `GET /v1/sinks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkList {
    /// In the order of their names.
    pub sinks: Vec<SinkReport>,
}

/// The state of one sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkReport {
    /// Its name in the configuration.
    pub name: String,
    /// `http`, `rabbitmq` or `amqp`.
    #[serde(rename = "type")]
    pub transport: String,
    /// `ok`, or `failing` while only single probes are attempted.
    pub state: String,
    /// Since when it is failing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Outcomes that it has not acknowledged yet.
    pub pending: usize,
    /// Of these, those that are being sent.
    pub in_flight: usize,
    /// Outcomes that it never received and that are kept.
    pub dead: usize,
    /// When the oldest pending outcome was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// The last error that was not about one notification alone. Absent once a notification got through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When the next attempt is due, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_in: Option<u64>,
}

/// `POST /v1/sinks/{name}/test`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkTest {
    /// One sample for each kind of outcome.
    pub samples: Vec<SinkTestSample>,
}

/// What came of one sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkTestSample {
    /// The kind of outcome.
    pub kind: String,
    /// `acknowledged`, `failed`, or `skipped` where the format has no message for the kind.
    pub result: String,
    /// Why it failed or was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
