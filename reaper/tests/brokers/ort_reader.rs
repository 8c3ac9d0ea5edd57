//! What the reader on the JVM must have read.

use std::collections::BTreeMap;

pub(crate) use jobwarden_tests::brokers::ort_reader::Source;
use jobwarden_tests::brokers::ort_reader::{Accepted, Until, command};

use crate::{messages::id, process::output};

/// Reads the queue to its end and checks that the orchestrator would have read the messages of these numbers, each at least once, and none
/// that it cannot read. Returns how many were there twice.
pub(crate) fn read_all(source: &Source<'_>, numbers: std::ops::Range<i64>) -> usize {
    let mut read: BTreeMap<String, usize> = BTreeMap::new();
    for line in output(&mut command(source, Until::Empty)).lines() {
        // A message that the orchestrator could not read is a line with the one key `refused`.
        let parsed = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"));
        let Accepted { id: accepted, trace_id, run_id, persistent, message } =
            parsed.expect("the orchestrator can read it");
        // JMS clients put this before IDs that are not of their own form.
        let accepted = accepted.strip_prefix("ID:AMQP_NO_PREFIX:").unwrap_or(&accepted).to_owned();
        let number = run_id - 1_000_000_000_000;
        assert_eq!((id(number), format!("trace-{number}")), (accepted.clone(), trace_id), "{line}");
        assert!(message.starts_with(&format!("ScannerWorkerError(jobId={number},")), "{line}");
        assert!(persistent, "{line}");
        *read.entry(accepted).or_default() += 1;
    }
    let missing: Vec<_> = numbers.clone().map(id).filter(|id| !read.contains_key(id)).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    assert_eq!(read.len(), numbers.count(), "messages that were not sent: {read:?}");
    read.values().map(|times| times - 1).sum()
}
