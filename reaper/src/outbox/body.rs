//! The body of a notification, and how it is kept below its maximum size.

use jiff::Timestamp;
use jobwarden_common::{
    identity::{JobId, RunId},
    notification::{Cause, CloudEvent, Fact, MAX_BYTES, OutcomeData, TimelineEntry},
};
use jobwarden_core::outcome::OutcomeName;
use serde::Serialize;

use super::object::{JobOutcome, JobOutcomeSpec, Recipients};

/// Bytes reserved for the envelope around the data.
const ENVELOPE_BYTES: usize = 2 * 1024;
/// The maximum length of an orchestrator's ID. A longer one is left out, because a truncated ID would name another job.
const MAX_ID_BYTES: usize = 1024;
/// The maximum length of one text in bytes.
const MAX_TEXT_BYTES: usize = 4 * 1024;
/// The maximum length of an Event's note in bytes (`events.k8s.io/v1`).
pub(crate) const MAX_NOTE_BYTES: usize = 1024;
/// The most entries of the timeline and of the evidence.
const MAX_ENTRIES: usize = 200;

/// The notification of a recorded outcome. It is the same for every call.
pub fn cloud_event(outcome: &JobOutcome) -> CloudEvent {
    let spec = &outcome.spec;
    let (namespace, job) = (&spec.namespace, &spec.job_name);
    CloudEvent {
        specversion: "1.0".to_owned(),
        id: outcome.outcome_name().to_string(),
        source: if spec.data.coalesced.is_some() {
            format!("/api/v1/namespaces/{namespace}")
        } else if spec.data.is_of_bare_pod() {
            format!("/api/v1/namespaces/{namespace}/pods/{job}")
        } else {
            format!("/apis/batch/v1/namespaces/{namespace}/jobs/{job}")
        },
        event_type: spec.kind.event_type(),
        subject: if spec.data.coalesced.is_some() { namespace.clone() } else { format!("{namespace}/{job}") },
        time: spec.created_at.to_string(),
        datacontenttype: "application/json".to_owned(),
        data: spec.data.clone(),
    }
}

impl JobOutcome {
    /// The outcome `name` for `recipients`, created at `at`, with `data` truncated to the maximum size of a notification.
    pub fn record(name: &OutcomeName, data: OutcomeData, recipients: Recipients, at: Timestamp) -> Self {
        let Recipients { sinks, labels } = recipients;
        let data = fitted(data);
        let spec = JobOutcomeSpec {
            kind: data.kind,
            namespace: data.namespace.clone(),
            job_name: data.job_name.clone(),
            job_uid: data.job_uid.clone(),
            pod_uid: data.attempt.as_ref().map(|attempt| attempt.pod_uid.clone()),
            run_id: data.run_id.clone(),
            job_id: data.job_id.clone(),
            reason: data.reason.clone(),
            created_at: at,
            data,
            sinks,
            labels,
        };
        Self::new(name.as_str(), spec)
    }
}

/// Truncates `data` so that the whole notification is at most [`MAX_BYTES`]: log lines go first; then long texts are shortened, and the
/// middle of the timeline and the evidence is left out.
#[must_use]
pub fn fitted(mut data: OutcomeData) -> OutcomeData {
    data.run_id = data.run_id.filter(|id: &RunId| id.as_str().len() <= MAX_ID_BYTES);
    data.job_id = data.job_id.filter(|id: &JobId| id.as_str().len() <= MAX_ID_BYTES);
    data.trace_id = data.trace_id.filter(|id| id.len() <= MAX_ID_BYTES);
    let (mut text_bytes, mut entries) = (MAX_TEXT_BYTES, MAX_ENTRIES);
    loop {
        let mut cut = cut(data.clone(), text_bytes, entries);
        shed_log_lines(&mut cut);
        // In the last iteration only names are left, whose length the API server limits.
        if fits(&cut) || text_bytes < 64 {
            return cut;
        }
        data.logs = cut.logs;
        (text_bytes, entries) = (text_bytes / 2, (entries / 2).max(4));
    }
}

fn fits(data: &OutcomeData) -> bool {
    encoded_bytes(data) + ENVELOPE_BYTES <= MAX_BYTES
}

/// Log lines go before anything else, the oldest first.
fn shed_log_lines(data: &mut OutcomeData) {
    while !fits(data) {
        let Some(logs) = data.logs.as_mut().filter(|logs| !logs.lines.is_empty()) else { return };
        logs.lines.remove(0);
        logs.truncated = true;
    }
}

fn cut(mut data: OutcomeData, text_bytes: usize, entries: usize) -> OutcomeData {
    without_middle(&mut data.timeline, entries, |first, left_out| TimelineEntry {
        at: first.at.clone(),
        event: format!("{left_out} entries are left out here"),
    });
    without_middle(&mut data.evidence, entries, |first, left_out| Fact {
        of: first.of.clone(),
        is: format!("{left_out} facts are left out here"),
    });
    shorten_all(&mut data, text_bytes);
    data
}

/// The size of `data` as JSON.
pub(crate) fn encoded_bytes(data: &impl Serialize) -> usize {
    // Plain data always serializes. If it did not, recording the outcome would return the error.
    serde_json::to_vec(data).map_or(0, |encoded| encoded.len())
}

fn shorten_all(data: &mut OutcomeData, max: usize) {
    shorten(&mut data.reason, max);
    shorten(&mut data.message, max);
    let Cause { kind: _, container, exit_code: _, signal, reason, message, resource, by, finished_at } =
        &mut data.cause;
    for text in [container, signal, reason, message, resource, by, finished_at].into_iter().flatten() {
        shorten(text, max);
    }
    for entry in &mut data.timeline {
        shorten(&mut entry.event, max);
        shorten(&mut entry.at, max);
    }
    for fact in &mut data.evidence {
        shorten(&mut fact.of, max);
        shorten(&mut fact.is, max);
    }
}

/// Truncates `text` to `max` bytes at a character boundary, with an ellipsis at the end.
pub(crate) fn shorten(text: &mut String, max: usize) {
    const ELLIPSIS: &str = "…";
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max.saturating_sub(ELLIPSIS.len())));
        text.push_str(ELLIPSIS);
    }
}

/// Truncates `entries` to `max` by leaving out the middle, which says the least.
fn without_middle<T>(entries: &mut Vec<T>, max: usize, placeholder: impl Fn(&T, usize) -> T) {
    if entries.len() > max {
        let head = max / 2;
        let tail = max - head - 1;
        let cut = head..entries.len() - tail;
        let placeholder = placeholder(&entries[cut.start], cut.len());
        entries.splice(cut, [placeholder]);
    }
}
