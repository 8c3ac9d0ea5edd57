//! Names and limits of the demo.

use std::time::Duration;

/// The namespace in which ORT Server starts its workers.
pub(super) const NAMESPACE: &str = "ortserver";
/// The name of the sink in the values of the documentation.
pub(super) const SINK: &str = "ort";
/// The Secret in them with the credentials for the broker.
pub(super) const SECRET: &str = "ort-rabbitmq";
/// The worker that succeeds.
pub(super) const SUCCEEDS: &str = "reporter";
/// How long anything may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_mins(3);
