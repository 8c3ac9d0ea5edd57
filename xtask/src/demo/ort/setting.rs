//! Names and limits of the demo.

use std::time::Duration;

/// The namespace in which ORT Server starts its workers.
pub(super) const NAMESPACE: &str = "ortserver";
/// The name of the sink in the values of the documentation.
pub(super) const SINK: &str = "ort";
/// How long anything may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_mins(3);
