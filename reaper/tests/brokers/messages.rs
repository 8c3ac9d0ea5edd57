//! Messages as the format `ort-server` makes them.

use bytes::Bytes;
use jobwarden_reaper::deliver::{Message, Property};

/// A word of every body. It must not be in any log.
pub(crate) const IN_BODY: &str = "Zwiebelkuchen";

/// The message of the outcome with this number.
pub(crate) fn message(number: i64) -> Message {
    let body = serde_json::json!({
        "type": "org.eclipse.apoapsis.ortserver.model.orchestrator.ScannerWorkerError",
        "jobId": number,
        "errorMessage": format!("The scanner worker was lost: {IN_BODY}."),
    });
    Message {
        id: id(number),
        content_type: "application/json",
        event: Vec::new(),
        properties: vec![
            ("traceId", Property::Text(format!("trace-{number}"))),
            ("runId", Property::Long(1_000_000_000_000 + number)),
        ],
        body: Bytes::from(body.to_string()),
    }
}

pub(crate) fn id(number: i64) -> String {
    format!("outcome-{number}")
}
