//! Samples of notifications, by which an operator tests a sink.

use jiff::Timestamp;
use jobwarden_common::notification::{Cause, DecidedBy, OutcomeData, OutcomeKind};
use jobwarden_core::outcome::OutcomeName;

use super::format::ENDPOINT_LABEL;
use crate::outbox::{JobOutcome, Recipients};

/// The reason of every sample, by which receivers tell it from an outcome.
const REASON: &str = "SinkTest";

/// The worker of ORT Server that the samples are about: a message of the format `ort-server` names one.
const WORKER: &str = "scanner";

/// The kinds of which there are samples: a coalesced outcome is about several Jobs, and a sample is about none.
const KINDS: [OutcomeKind; 7] = [
    OutcomeKind::Succeeded,
    OutcomeKind::Failed,
    OutcomeKind::Lost,
    OutcomeKind::Deleted,
    OutcomeKind::Suspect,
    OutcomeKind::AttemptFailed,
    OutcomeKind::Recovered,
];

/// One sample of each kind, made at `now` for the sink of this name. They are never recorded, and no Job is concerned.
///
/// Run and job have the ID 0, which no database gives: where a receiver looks them up it finds nothing.
pub(super) fn samples(sink: &str, now: Timestamp) -> Vec<JobOutcome> {
    let sample = |kind: OutcomeKind| {
        let name = OutcomeName::from_object(&format!("test.{kind}.{}", now.as_millisecond()));
        let data = OutcomeData {
            kind,
            namespace: "jobwarden".to_owned(),
            job_name: "sink-test".to_owned(),
            job_uid: "00000000-0000-0000-0000-000000000000".into(),
            run_id: Some("0".into()),
            job_id: Some("0".into()),
            trace_id: Some("sink-test".to_owned()),
            attempt: None,
            reason: REASON.to_owned(),
            message: format!("This is a test of the sink {sink}, sent by an operator. No Job is concerned."),
            work_may_be_done: false,
            cause: Cause::default(),
            decided_by: DecidedBy { row: "none".to_owned(), rule: "an operator tests a sink".to_owned() },
            evidence: Vec::new(),
            timeline: Vec::new(),
            usage: None,
            logs: None,
            coalesced: None,
        };
        let labels = [(ENDPOINT_LABEL.to_owned(), WORKER.to_owned())].into();
        JobOutcome::record(&name, data, Recipients { labels, ..Recipients::default() }, now)
    };
    KINDS.map(sample).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::format::{Format, OrtServer};

    #[test]
    fn ort_server_is_sent_a_sample_of_each_final_failure() {
        let format = Format::OrtServer(OrtServer::default());
        for sample in samples("ort", Timestamp::UNIX_EPOCH) {
            let is_failure = matches!(sample.spec.kind, OutcomeKind::Failed | OutcomeKind::Lost);
            let message = format.message(&sample);
            assert_eq!(message.is_ok(), is_failure, "{}: {message:?}", sample.spec.kind);
        }
    }

    #[test]
    fn every_sample_says_that_it_is_one() {
        let samples = samples("ort", Timestamp::UNIX_EPOCH);
        assert_eq!(samples.len(), 7);
        for sample in samples {
            assert_eq!(sample.spec.reason, "SinkTest");
            assert!(sample.spec.data.message.contains("test of the sink ort"), "{}", sample.spec.data.message);
            assert!(sample.outcome_name().as_str().starts_with("test."));
        }
    }
}
