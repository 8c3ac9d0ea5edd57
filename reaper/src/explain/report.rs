//! An explanation for people.

use std::{fmt::Write as _, time::Duration};

use jobwarden_common::notification::{Cause, CauseKind, Usage};

use crate::api::model::{Explanation, Pod, Timer, Verdict};

/// Everything about a Job, in lines.
pub(super) fn report(of: &Explanation) -> String {
    let mut text = String::new();
    head(&mut text, of);
    for pod in &of.pods {
        show_pod(&mut text, pod);
    }
    if let Some(past) = &of.past {
        let on = past.node.as_ref().map(|node| format!(" on node {node}")).unwrap_or_default();
        line(&mut text, format!("\nPod {}{on}: its object is gone", past.name));
        show_cause(&mut text, &past.cause);
    }
    section(&mut text, "What time alone will change, if nothing more is heard", of.timers.iter().map(timer));
    let width = of.policy.iter().map(|value| value.name.len()).max().unwrap_or(0);
    let values = of.policy.iter().map(|of| format!("{:width$}  {:<8}  {}", of.name, of.value, of.origin));
    section(&mut text, "Policy, and where each value comes from", values);
    let outcomes = of.outcomes.iter().map(|outcome| {
        let sinks = outcome.sinks.iter().map(|sink| {
            let error = sink.last_error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
            format!("{}: {} after {} attempts{error}", sink.name, sink.state, sink.attempts)
        });
        let sinks: Vec<_> = sinks.collect();
        let sinks = if sinks.is_empty() { "nobody is to be told".to_owned() } else { sinks.join("; ") };
        format!("{}  {}  {sinks}", outcome.recorded_at, outcome.name)
    });
    section(&mut text, "Outcomes", outcomes);
    section(&mut text, "Usage", of.usage.iter().map(usage));
    section(&mut text, "What happened", of.timeline.iter().map(|entry| format!("{}  {}", entry.at, entry.event)));
    text
}

fn head(text: &mut String, of: &Explanation) {
    let since = of.since.as_ref().map(|since| format!(", since {since}")).unwrap_or_default();
    line(text, format!("{} {}/{}: {}{since}", of.job.kind, of.job.namespace, of.job.name, verdict(&of.verdict)));
    if let Some(held) = &of.held {
        let long = held.for_seconds.map(|left| format!(", for another {}", span(left))).unwrap_or_default();
        line(text, format!("  HELD      nothing is done about it: the guard {} holds{long}", held.why));
    }
    line(text, format!("  state     {}", of.state));
    for (name, id) in [
        ("run", of.job.run_id.as_ref().map(ToString::to_string)),
        ("job", of.job.job_id.as_ref().map(ToString::to_string)),
        ("trace", of.job.trace_id.clone()),
        ("uid", Some(of.job.uid.to_string())),
        ("seen", Some(of.at.clone())),
    ] {
        if let Some(id) = id {
            line(text, format!("  {name:<8}  {id}"));
        }
    }
}

fn show_pod(text: &mut String, pod: &Pod) {
    let on = pod.node.as_ref().map(|node| format!(" on node {node}")).unwrap_or_default();
    line(text, format!("\nPod {}{on}: {}", pod.name, verdict(&pod.verdict)));
    for fact in &pod.evidence {
        line(text, format!("  {:<8}  {}", fact.of, fact.is));
    }
    show_cause(text, &pod.cause);
}

fn show_cause(text: &mut String, cause: &Cause) {
    if let Some(why) = jobwarden_core::explain::cause(cause) {
        let said = cause.message.as_ref().filter(|_| cause.kind != Some(CauseKind::Deleted));
        let said = said.map(|message| format!(" {message}")).unwrap_or_default();
        line(text, format!("  cause     {why}{said}"));
    }
}

/// `lost, NodeUnreachable (P8: what the row says)`.
fn verdict(of: &Verdict) -> String {
    let reason = of.reason.as_ref().map(|reason| format!(", {reason}")).unwrap_or_default();
    let row = match (&of.row, &of.rule) {
        (Some(row), Some(rule)) => format!(" ({row}: {rule})"),
        _ => String::new(),
    };
    format!("{}{reason}{row}", of.verdict)
}

fn timer(of: &Timer) -> String {
    let who = of.pod.as_ref().map_or_else(|| "the Job".to_owned(), |pod| format!("pod {pod}"));
    format!("in {:<9}  {who}: {}", span(of.in_seconds), verdict(&of.verdict))
}

fn usage(of: &Usage) -> String {
    let upper = of.peak_upper_bytes.map(|bytes| format!(", at most {}", size(bytes))).unwrap_or_default();
    let censored = if of.censored { ", killed at its limit: it would have used more" } else { "" };
    let wall = of.wall_ms.map(|ms| format!(", ran for {}", span(ms / 1000))).unwrap_or_default();
    format!(
        "peak memory {}, at least {}{upper}{censored}; CPU time {}{wall}",
        size(of.peak_rss_bytes),
        size(of.peak_lower_bytes),
        span(of.cpu_ms / 1000)
    )
}

/// Whole mebibytes, rounded up.
fn size(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1024 * 1024))
}

fn span(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        line(text, format!("\n{title}:"));
        for entry in lines {
            line(text, format!("  {}", entry.trim_end()));
        }
    }
}

fn line(text: &mut String, line: impl AsRef<str>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", line.as_ref());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn spans_are_for_people() {
        assert_eq!(span(79), humantime::format_duration(Duration::from_secs(79)).to_string());
        assert_eq!((size(1), size(3 << 20)), ("1 MiB".to_owned(), "3 MiB".to_owned()));
    }
}
