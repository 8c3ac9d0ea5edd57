//! A delivery as text or as JSON.

use std::fmt::Write as _;

use clap::ValueEnum;
use jiff::Timestamp;
use jobwarden_common::notification::{CauseKind, OutcomeData};
use serde_json::{Value, json};

use super::{
    notification::{Mode, Notification},
    seen::Occurrence,
};
use crate::{
    output::{controls_terminal, printable},
    usage::usage,
};

/// The most characters of one line.
const MAX_LINE: usize = 4096;

/// How deliveries are printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// For people
    Text,
    /// A JSON object a line, with the whole notification
    Json,
}

/// What is known about the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signature {
    /// The signature is valid.
    Verified,
    /// There is one, and no secret to verify it with.
    NotVerified,
    /// There is none.
    None,
}

/// A notification as it was received.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// When.
    pub(super) at: Timestamp,
    /// By which receivers deduplicate.
    pub(super) id: Option<String>,
    /// Who sent it.
    pub(super) signature: Signature,
    /// How often it was received.
    pub(super) occurrence: Occurrence,
    /// The notification.
    pub(super) notification: Notification,
}

impl Delivery {
    /// The delivery, with a newline at the end.
    pub(super) fn report(&self, output: Output) -> String {
        match output {
            Output::Text => self.text(),
            Output::Json => self.json(),
        }
    }

    /// A paragraph; one line if it repeats another one.
    fn text(&self) -> String {
        let Self { at, notification, occurrence, .. } = self;
        let outcome = notification.outcome();
        let subject = match (&outcome, notification) {
            (Some(outcome), _) => subject(outcome),
            (None, Notification::Event { event, .. }) => {
                let attribute = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
                format!("{}, {}", attribute("type"), attribute("source"))
            }
            (None, Notification::Other { content_type, .. }) => format!("no CloudEvent, content type {content_type:?}"),
        };
        let mut text = String::new();
        let again = match occurrence {
            Occurrence::First => String::new(),
            Occurrence::Again { count, same: true } => format!(", again (delivery {count}, the same content)"),
            Occurrence::Again { count, same: false } => format!(", again (delivery {count}) WITH ANOTHER CONTENT"),
        };
        line(&mut text, &format!("{at:.0}  {subject}{again}"));
        if !matches!(occurrence, Occurrence::Again { same: true, .. }) {
            match (outcome, notification) {
                (Some(outcome), _) => content(&mut text, &outcome),
                (None, Notification::Event { event, .. }) => {
                    named(&mut text, "data", &event.get("data").map(Value::to_string).unwrap_or_default());
                }
                (None, Notification::Other { body, .. }) => named(&mut text, "body", body),
            }
        }
        let signature = match self.signature {
            Signature::Verified => "signature verified",
            Signature::NotVerified => "signature not verified",
            Signature::None => "unsigned",
        };
        let mode = match notification {
            Notification::Event { mode: Mode::Structured, .. } => ", structured",
            Notification::Event { mode: Mode::Binary, .. } => ", binary",
            Notification::Other { .. } => "",
        };
        named(&mut text, "id", &format!("{}, {signature}{mode}", self.id.as_deref().unwrap_or("none")));
        text
    }

    /// One line of JSON.
    fn json(&self) -> String {
        let Self { at, id, signature, occurrence, notification } = self;
        let (delivery, same) = match occurrence {
            Occurrence::First => (1, true),
            Occurrence::Again { count, same } => (*count, *same),
        };
        let mut value = json!({
            "receivedAt": format!("{at:.0}"),
            "id": id,
            "signature": match signature {
                Signature::Verified => "verified",
                Signature::NotVerified => "notVerified",
                Signature::None => "none",
            },
            "delivery": delivery,
            "sameContent": same,
        });
        match notification {
            Notification::Event { mode, event } => {
                value["mode"] = json!(match mode {
                    Mode::Structured => "structured",
                    Mode::Binary => "binary",
                });
                value["event"] = Value::Object(event.clone());
            }
            Notification::Other { content_type, body } => {
                value["contentType"] = json!(content_type);
                value["body"] = json!(body);
            }
        }
        let mut text = String::new();
        for letter in value.to_string().chars() {
            // Only strings have such characters, and only those that JSON allows as they are.
            if controls_terminal(letter) {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(letter));
            } else {
                text.push(letter);
            }
        }
        text + "\n"
    }
}

/// `lost  ort/analyzer-7, run 41, job 7`.
fn subject(outcome: &OutcomeData) -> String {
    let OutcomeData { kind, namespace, job_name, run_id, job_id, .. } = outcome;
    let slash = if job_name.is_empty() { "" } else { "/" };
    let run = run_id.as_ref().map(|run| format!(", run {run}")).unwrap_or_default();
    let job = job_id.as_ref().map(|job| format!(", job {job}")).unwrap_or_default();
    format!("{kind}  {namespace}{slash}{job_name}{run}{job}")
}

fn content(text: &mut String, outcome: &OutcomeData) {
    let OutcomeData { reason, message, cause, attempt, decided_by, usage: used, coalesced, .. } = outcome;
    line(text, &format!("  {reason}: {message}"));
    if let Some(sentence) = cause.sentence() {
        // Who deleted a pod is in the sentence already.
        let message = cause.message.as_ref().filter(|_| cause.kind != Some(CauseKind::Deleted));
        let message = message.map(|message| format!(" {message}")).unwrap_or_default();
        named(text, "cause", &format!("{sentence}{message}"));
    }
    if let Some(attempt) = attempt {
        let node = attempt.node.as_ref().map(|node| format!(" on node {node}")).unwrap_or_default();
        named(text, "pod", &format!("{}{node}", attempt.pod_name));
    }
    if let Some(used) = used {
        named(text, "usage", &usage(used));
    }
    for of_kind in coalesced.iter().flat_map(|coalesced| &coalesced.by) {
        named(text, &of_kind.count.to_string(), &format!("{}, {}", of_kind.kind, of_kind.reason));
    }
    named(text, "decided", &format!("by {}: {}", decided_by.row, decided_by.rule));
}

fn named(text: &mut String, name: &str, value: &str) {
    line(text, &format!("  {name:<8}  {value}"));
}

/// Adds a line. What a tenant wrote in it is data, and is not trusted.
fn line(text: &mut String, line: &str) {
    let line = printable(line);
    match line.char_indices().nth(MAX_LINE) {
        None => text.push_str(&line),
        Some((end, _)) => text.extend([&line[..end], "…"]),
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};
    use serde_json::Map;

    use super::*;

    fn event(data: &Value) -> Notification {
        let event = json!({
            "specversion": "1.0", "id": "1111.final", "type": "io.jobwarden.job.lost", "data": data,
            "source": "/apis/batch/v1/namespaces/ort/jobs/analyzer-7",
        });
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/cloudevents+json"))];
        let headers: HeaderMap = headers.into_iter().collect();
        Notification::read(&headers, event.to_string().as_bytes()).expect("a valid event")
    }

    fn data() -> Value {
        json!({
            "kind": "lost", "namespace": "ort", "jobName": "analyzer-7", "jobUid": "1111", "runId": "41", "jobId": "7",
            "attempt": {"podUid": "2222", "podName": "analyzer-7-x", "node": "n1"},
            "reason": "NodeUnreachable", "message": "Pod analyzer-7-x on node n1 is lost.",
            "cause": {"kind": "OOMKilled", "container": "main", "exitCode": 137, "reason": "OOMKilled", "message": "Killed."},
            "decidedBy": {"row": "P8", "rule": "no heartbeat"}, "evidence": [], "timeline": [],
            "usage": {"peakRssBytes": 3_145_728, "peakLowerBytes": 1_048_576, "cpuMs": 61_000},
        })
    }

    fn delivery(notification: Notification) -> Delivery {
        Delivery {
            at: "2026-11-29T19:40:12.5Z".parse().expect("a time"),
            id: Some("1111.final".to_owned()),
            signature: Signature::Verified,
            occurrence: Occurrence::First,
            notification,
        }
    }

    #[test]
    fn an_outcome_is_a_paragraph() {
        let expected = "\
2026-11-29T19:40:12Z  lost  ort/analyzer-7, run 41, job 7
  NodeUnreachable: Pod analyzer-7-x on node n1 is lost.
  cause     Container main ended with OOMKilled, exit code 137. Killed.
  pod       analyzer-7-x on node n1
  usage     peak memory 3 MiB (at least 1 MiB), CPU time 1m 1s
  decided   by P8: no heartbeat
  id        1111.final, signature verified, structured
";
        assert_eq!(delivery(event(&data())).report(Output::Text), expected);
    }

    #[test]
    fn a_repetition_is_said_to_be_one() {
        let again = |same| Delivery { occurrence: Occurrence::Again { count: 2, same }, ..delivery(event(&data())) };
        let expected = "\
2026-11-29T19:40:12Z  lost  ort/analyzer-7, run 41, job 7, again (delivery 2, the same content)
  id        1111.final, signature verified, structured
";
        assert_eq!(again(true).report(Output::Text), expected);
        let other = again(false).report(Output::Text);
        assert!(
            other.contains("again (delivery 2) WITH ANOTHER CONTENT") && other.contains("NodeUnreachable"),
            "{other}"
        );
    }

    #[test]
    fn outcomes_that_are_reported_together_are_counted() {
        let mut data = data();
        data["jobName"] = json!("");
        data["coalesced"] =
            json!({"count": 12, "by": [{"kind": "failed", "reason": "BackoffLimitExceeded", "count": 12}], "jobs": []});
        let text = delivery(event(&data)).report(Output::Text);
        assert!(
            text.contains("  lost  ort, run 41") && text.contains("  12        failed, BackoffLimitExceeded\n"),
            "{text}"
        );
    }

    #[test]
    fn an_event_of_an_unknown_kind_is_shown_with_its_data() {
        let text = delivery(event(&json!({"kind": "struck by lightning"}))).report(Output::Text);
        assert!(text.contains("io.jobwarden.job.lost, /apis/batch/v1/namespaces/ort/jobs/analyzer-7"), "{text}");
        assert!(text.contains("  data      {\"kind\":\"struck by lightning\"}\n"), "{text}");
    }

    #[test]
    fn what_is_no_event_is_shown_and_cut() {
        let other = Notification::Other { content_type: "text/plain".to_owned(), body: "ß".repeat(2 * MAX_LINE) };
        let text = Delivery { id: None, signature: Signature::None, ..delivery(other) }.report(Output::Text);
        assert!(
            text.starts_with("2026-11-29T19:40:12Z  no CloudEvent, content type \"text/plain\"\n  body      ß"),
            "{text}"
        );
        assert!(text.contains("ß…\n  id        none, unsigned\n"), "{text}");
    }

    #[test]
    fn what_a_tenant_wrote_does_not_control_the_terminal() {
        let hostile = "x\u{1b}[2J\n  decided   by us\r\u{9b}1m\u{202e}\u{2028}";
        let mut data = data();
        for field in ["message", "jobName", "reason"] {
            data[field] = json!(hostile);
        }
        data["cause"]["message"] = json!(hostile);
        let of_outcome = delivery(event(&data));
        let of_event = delivery(event(&json!(hostile)));
        let of_other = Delivery {
            id: Some(hostile.to_owned()),
            ..delivery(Notification::Other { content_type: hostile.to_owned(), body: hostile.to_owned() })
        };
        for delivery in [of_outcome, of_event, of_other] {
            for output in [Output::Text, Output::Json] {
                let text = delivery.report(output);
                assert!(text.chars().all(|letter| letter == '\n' || !controls_terminal(letter)), "{text}");
                assert!(!text.lines().any(|line| line == "  decided   by us"), "{text}");
            }
        }
    }

    #[test]
    fn json_is_one_line_with_the_whole_event() {
        let mut data = data();
        data["message"] = json!("a\u{9b}b\nc");
        let line = delivery(event(&data)).report(Output::Json);
        assert_eq!(line.lines().count(), 1);
        let value: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["event"]["data"], data);
        let event = value["event"].as_object().map(Map::len);
        assert_eq!(
            (value["id"].as_str(), value["signature"].as_str(), event),
            (Some("1111.final"), Some("verified"), Some(5))
        );
        assert_eq!(
            (&value["delivery"], &value["sameContent"], &value["mode"]),
            (&json!(1), &json!(true), &json!("structured"))
        );
    }
}
