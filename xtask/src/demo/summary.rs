//! What a run of the demo showed.

use serde::Serialize;

/// The line of JSON. A figure that was not measured is null.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    pub(super) injected: bool,
    pub(super) run_id: Option<String>,
    pub(super) job_id: Option<String>,
    pub(super) beats: u64,
    pub(super) lost_after_s: Option<f64>,
    pub(super) detected_after_s: Option<f64>,
    pub(super) failed_after_s: Option<f64>,
    pub(super) notified: Option<u32>,
    pub(super) reason: Option<String>,
    pub(super) peak_rss_bytes: Option<u64>,
    pub(super) cleaned: Option<bool>,
    pub(super) passed: bool,
}
