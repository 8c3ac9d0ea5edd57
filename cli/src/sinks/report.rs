//! The state of the sinks, and the result of a test, as text.

use jobwarden_common::api::{SinkList, SinkReport, SinkTest, SinkTestSample};
use k8s_openapi::jiff::Timestamp;

use crate::{
    table::{ABSENT, Table},
    text::{age, line},
    usage::span,
};

/// The state of a sink that gets single probes.
const FAILING: &str = "failing";
/// The result of a sample that a sink acknowledged.
const ACKNOWLEDGED: &str = "acknowledged";
/// The result of a sample that was not sent.
const SKIPPED: &str = "skipped";

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// What fits a terminal.
    Brief,
    /// Whole error messages, and what is being sent.
    Wide,
}

/// A line for each sink, and what to do next.
pub(super) fn list(list: &SinkList, detail: Detail, now: Timestamp) -> String {
    let sinks = &list.sinks;
    if sinks.is_empty() {
        return "No sink is configured: outcomes are recorded, but no orchestrator is notified.\n\
                To notify your orchestrator, set reaper.sinks in the values of the chart.\n"
            .to_owned();
    }
    let mut text = table(sinks, detail, now);
    let failing = || sinks.iter().filter(|sink| sink.state == FAILING);
    if let Some(first) = failing().next() {
        let (subject, gets) =
            if failing().count() == 1 { ("The failing sink", "gets") } else { ("Failing sinks", "get") };
        line(
            &mut text,
            format!("\n{subject} {gets} one probe at a time; once one is acknowledged, what is pending follows."),
        );
        line(&mut text, format!("Find out whether it accepts samples: jobwarden sinks test {}", first.name));
    }
    if let Some(sink) = sinks.iter().find(|sink| sink.dead > 0) {
        line(&mut text, "\nDead outcomes were never received. See them, then send them again:");
        line(&mut text, format!("  jobwarden outcomes list -A --state dead --sink {}", sink.name));
        line(&mut text, format!("  jobwarden outcomes redeliver --all-dead --sink {}", sink.name));
    }
    text
}

fn table(sinks: &[SinkReport], detail: Detail, now: Timestamp) -> String {
    let wide = detail == Detail::Wide;
    let head = ["NAME", "TYPE", "STATE", "SINCE", "PENDING", "DEAD", "OLDEST", "NEXT"];
    let more = if wide { ["SENDING", "LAST ERROR"].as_slice() } else { &["LAST ERROR"] };
    let mut table = Table::new(&[head.as_slice(), more].concat());
    for sink in sinks {
        let SinkReport { name, transport, state, since, pending, in_flight, dead, oldest, last_error, next_attempt_in } =
            sink;
        let aged = |time: &Option<String>| time.as_ref().map_or_else(|| ABSENT.to_owned(), |time| age(time, now));
        let mut cells = vec![
            name.clone(),
            transport.clone(),
            state.clone(),
            aged(since),
            pending.to_string(),
            dead.to_string(),
            aged(oldest),
            next_attempt_in.map_or_else(|| ABSENT.to_owned(), |seconds| span(seconds).replace(' ', "")),
        ];
        if wide {
            cells.push(in_flight.to_string());
        }
        cells.push(last_error.clone().unwrap_or_else(|| ABSENT.to_owned()));
        table.row(&cells);
    }
    if wide { table.text() } else { table.cut_text() }
}

/// What came of each sample.
pub(super) fn test(name: &str, test: &SinkTest) -> String {
    let samples = &test.samples;
    let count = |what: fn(&SinkTestSample) -> bool| samples.iter().filter(|sample| what(sample)).count();
    let (acknowledged, skipped, failed) =
        (count(|sample| sample.result == ACKNOWLEDGED), count(|sample| sample.result == SKIPPED), count(has_failed));
    let mut text = String::new();
    line(&mut text, format!("Sink {name}: {acknowledged} acknowledged, {failed} failed, {skipped} skipped"));
    let width = samples.iter().map(|sample| sample.kind.chars().count()).max().unwrap_or(0);
    for SinkTestSample { kind, result, error } in samples {
        let why = match (error, result.as_str()) {
            (Some(error), _) => error.as_str(),
            (None, SKIPPED) => "the sink's format has no message for this kind",
            (None, _) => "",
        };
        line(&mut text, format!("  {kind:width$}  {result:<12}  {why}").trim_end());
    }
    if failed > 0 {
        line(
            &mut text,
            "\nThe errors are those of the receiver, or of the connection to it. Outcomes would fail in the same way.",
        );
    } else if acknowledged == 0 {
        line(&mut text, "\nNothing was sent, so this says nothing about the receiver.");
    }
    text
}

/// Whether the test has shown that the sink does not work.
pub(super) fn failed(test: &SinkTest) -> bool {
    test.samples.iter().any(has_failed)
}

/// A result that is not known counts as a failure.
fn has_failed(sample: &SinkTestSample) -> bool {
    ![ACKNOWLEDGED, SKIPPED].contains(&sample.result.as_str())
}
