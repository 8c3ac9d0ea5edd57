//! The message itself, and how it is kept under its size.

use jiff::Timestamp;
use jobwarden_common::{
    identity::{JobId, RunId},
    notification::{Cause, CloudEvent, Fact, MAX_BYTES, OutcomeData, TimelineEntry},
};
use jobwarden_core::outcome::OutcomeName;

use super::object::JobOutcome;

/// Room kept for whatever a transport wraps around the data, in bytes.
const ENVELOPE_BYTES: usize = 2 * 1024;
/// An ID of the orchestrator's that is longer is not one: it is left out whole, since half of it would name another job.
const MAX_ID_BYTES: usize = 1024;
/// The most that any sentence may hold, in bytes.
const MAX_SENTENCE_BYTES: usize = 4 * 1024;
/// The most entries that timeline and evidence may hold each.
const MAX_ENTRIES: usize = 200;

/// The notification of a recorded outcome, the same at every call.
pub fn cloud_event(outcome: &JobOutcome) -> CloudEvent {
    let spec = &outcome.spec;
    let (namespace, job) = (&spec.namespace, &spec.job_name);
    CloudEvent {
        specversion: "1.0".to_owned(),
        id: outcome.outcome_name().to_string(),
        source: if spec.data.is_of_bare_pod() {
            format!("/api/v1/namespaces/{namespace}/pods/{job}")
        } else {
            format!("/apis/batch/v1/namespaces/{namespace}/jobs/{job}")
        },
        event_type: spec.kind.event_type(),
        subject: format!("{namespace}/{job}"),
        time: spec.created_at.to_string(),
        datacontenttype: "application/json".to_owned(),
        data: spec.data.clone(),
    }
}

impl JobOutcome {
    /// The outcome `name`, made at `at`, with `data` cut to what a notification may hold.
    pub fn record(name: &OutcomeName, data: OutcomeData, at: Timestamp) -> Self {
        let data = fitted(data);
        let spec = super::JobOutcomeSpec {
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
        };
        Self::new(name.as_str(), spec)
    }
}

/// The data cut so that the whole notification is under [`MAX_BYTES`]: sentences are shortened first, then the middle
/// of timeline and evidence goes.
#[must_use]
pub fn fitted(mut data: OutcomeData) -> OutcomeData {
    data.run_id = data.run_id.filter(|id: &RunId| id.as_str().len() <= MAX_ID_BYTES);
    data.job_id = data.job_id.filter(|id: &JobId| id.as_str().len() <= MAX_ID_BYTES);
    data.trace_id = data.trace_id.filter(|id| id.len() <= MAX_ID_BYTES);
    let (mut sentence, mut entries) = (MAX_SENTENCE_BYTES, MAX_ENTRIES);
    loop {
        let cut = cut(data.clone(), sentence, entries);
        // At the last turn nothing is left but names, whose lengths the API server limits.
        if encoded_bytes(&cut) + ENVELOPE_BYTES <= MAX_BYTES || sentence < 64 {
            return cut;
        }
        (sentence, entries) = (sentence / 2, (entries / 2).max(4));
    }
}

fn cut(mut data: OutcomeData, sentence: usize, entries: usize) -> OutcomeData {
    without_middle(&mut data.timeline, entries, |first, left_out| TimelineEntry {
        at: first.at.clone(),
        event: format!("{left_out} entries from here on are left out"),
    });
    without_middle(&mut data.evidence, entries, |first, left_out| Fact {
        of: first.of.clone(),
        is: format!("{left_out} statements from here on are left out"),
    });
    shorten_all(&mut data, sentence);
    data
}

fn encoded_bytes(data: &OutcomeData) -> usize {
    // These types are plain data, which always serializes; were it not so, recording would say why.
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

/// Cuts `text` to `max` bytes, at the end of a character and with an ellipsis.
pub(crate) fn shorten(text: &mut String, max: usize) {
    const ELLIPSIS: &str = "…";
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max.saturating_sub(ELLIPSIS.len())));
        text.push_str(ELLIPSIS);
    }
}

/// Cuts `entries` to `max`: the beginning and the end tell most.
fn without_middle<T>(entries: &mut Vec<T>, max: usize, stand_in: impl Fn(&T, usize) -> T) {
    if entries.len() > max {
        let head = max / 2;
        let tail = max - head - 1;
        let cut = head..entries.len() - tail;
        let stand_in = stand_in(&entries[cut.start], cut.len());
        entries.splice(cut, [stand_in]);
    }
}
