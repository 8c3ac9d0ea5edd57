//! The reader on the JVM, with the official clients, which reads a queue as ORT Server's orchestrator does.

use std::{collections::BTreeMap, process::Command};

use serde::Deserialize;

use crate::{artifacts, messages::id, process::output};

/// The line of the reader for a message that it could read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    accepted: String,
    trace_id: String,
    run_id: i64,
    persistent: bool,
    message: String,
}

/// A queue of a broker, as the reader reaches it.
pub(crate) struct Source<'a> {
    /// The name of ORT's transport.
    pub(crate) transport: &'a str,
    pub(crate) uri: String,
    pub(crate) queue: &'a str,
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
}

/// Reads the queue to its end and checks that the orchestrator would have read the messages of these numbers, each at least once, and none
/// that it cannot read. Returns how many were there twice.
pub(crate) fn read_all(source: &Source<'_>, numbers: std::ops::Range<i64>) -> usize {
    let built = artifacts::ort_reader();
    let mut java = Command::new("java");
    java.arg("-cp")
        .arg(format!("{0}/classes:{0}/lib/*", built.display()))
        .args(["ortreader.MainKt", source.transport])
        .envs([("BROKER_URI", source.uri.as_str()), ("BROKER_QUEUE", source.queue)])
        .envs([("BROKER_USER", source.user), ("BROKER_PASSWORD", source.password)]);
    let mut read: BTreeMap<String, usize> = BTreeMap::new();
    for line in output(&mut java).lines() {
        // A message that the orchestrator could not read is a line with the one key `refused`.
        let parsed = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"));
        let Line { accepted, trace_id, run_id, persistent, message } = parsed.expect("the orchestrator can read it");
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
