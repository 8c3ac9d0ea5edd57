//! An explanation as text.

use jobwarden_common::{
    api::{Explanation, Figures, Outcome, Pod, Timer, Verdict},
    notification::{Cause, CauseKind},
};

use crate::{
    text::{line, section},
    usage::{span, usage},
};

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Everything in words.
    Brief,
    /// UIDs and figures as well.
    Wide,
}

/// Everything about a Job, as lines of text.
pub(super) fn report(explanation: &Explanation, detail: Detail) -> String {
    let mut text = String::new();
    job(&mut text, explanation);
    for it in &explanation.pods {
        pod(&mut text, it, detail);
    }
    if explanation.more_pods > 0 {
        line(&mut text, format!("\n{} more pods", explanation.more_pods));
    }
    if explanation.messages_withheld {
        line(
            &mut text,
            "\nMessages of containers are left out: they may hold log lines, which you may not read in this namespace",
        );
    }
    if let Some(past) = &explanation.past {
        let node = past.node.as_ref().map(|node| format!(" on node {node}")).unwrap_or_default();
        line(&mut text, format!("\nPod {}{node}: no longer exists", past.name));
        if detail == Detail::Wide {
            line(&mut text, format!("  uid       {}", past.uid));
        }
        cause(&mut text, &past.cause);
    }
    section(&mut text, "Next, if no new evidence arrives", explanation.timers.iter().map(timer));
    let width = explanation.policy.iter().map(|value| value.name.len()).max().unwrap_or(0);
    let values =
        explanation.policy.iter().map(|value| format!("{:width$}  {:<8}  {}", value.name, value.value, value.origin));
    section(&mut text, "Policy, with the origin of each value", values);
    section(&mut text, "Outcomes", explanation.outcomes.iter().map(outcome));
    section(&mut text, "Usage", explanation.usage.iter().map(usage));
    section(&mut text, "Timeline", explanation.timeline.iter().map(|entry| format!("{}  {}", entry.at, entry.event)));
    text
}

fn job(text: &mut String, explanation: &Explanation) {
    let Explanation { at, job, state, verdict: current, since, held, .. } = explanation;
    let since = since.as_ref().map(|since| format!(", since {since}")).unwrap_or_default();
    line(text, format!("{} {}/{}: {}{since}", job.kind, job.namespace, job.name, verdict(current)));
    if let Some(held) = held {
        let left = held.for_seconds.map(|left| format!(", for another {}", span(left))).unwrap_or_default();
        line(text, format!("  HELD      by the guard {}{left}: no action is taken", held.why));
    }
    line(text, format!("  state     {state}"));
    for (name, value) in [
        ("run", job.run_id.as_ref().map(ToString::to_string)),
        ("job", job.job_id.as_ref().map(ToString::to_string)),
        ("trace", job.trace_id.clone()),
        ("uid", Some(job.uid.to_string())),
        ("as of", Some(at.clone())),
    ] {
        if let Some(value) = value {
            line(text, format!("  {name:<8}  {value}"));
        }
    }
}

fn pod(text: &mut String, pod: &Pod, detail: Detail) {
    let node = pod.node.as_ref().map(|node| format!(" on node {node}")).unwrap_or_default();
    line(text, format!("\nPod {}{node}: {}", pod.name, verdict(&pod.verdict)));
    for fact in &pod.evidence {
        line(text, format!("  {:<8}  {}", fact.of, fact.is));
    }
    if detail == Detail::Wide {
        line(text, format!("  figures   {}", figures(&pod.figures)));
        line(text, format!("  uid       {}", pod.uid));
    }
    cause(text, &pod.cause);
}

/// `phase=Running bound=3020s beat=running,128s …`: values as in the API, ages beside them.
fn figures(figures: &Figures) -> String {
    let Figures {
        phase,
        bound_seconds,
        terminating_seconds,
        starting_seconds,
        beat,
        beat_seconds,
        agent,
        agent_seconds,
        node,
        lease_seconds,
    } = figures;
    let aged = |word: &str, age: &Option<u64>| match age {
        Some(age) => format!("{word},{age}s"),
        None => word.to_owned(),
    };
    let age = |age: &Option<u64>| age.map(|age| format!("{age}s"));
    let values = [
        ("phase", Some(phase.clone())),
        ("bound", age(bound_seconds)),
        ("starting", age(starting_seconds)),
        ("terminating", age(terminating_seconds)),
        ("beat", Some(aged(beat, beat_seconds))),
        ("agent", Some(aged(agent, agent_seconds))),
        ("node", node.clone()),
        ("lease", age(lease_seconds)),
    ];
    let values = values.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    values.collect::<Vec<_>>().join(" ")
}

fn cause(text: &mut String, cause: &Cause) {
    if let Some(sentence) = cause.sentence() {
        // Who deleted a pod is in the sentence already.
        let message = cause.message.as_ref().filter(|_| cause.kind != Some(CauseKind::Deleted));
        let message = message.map(|message| format!(" {message}")).unwrap_or_default();
        line(text, format!("  cause     {sentence}{message}"));
    }
}

/// `lost, NodeUnreachable (P8: text of the row)`.
fn verdict(verdict: &Verdict) -> String {
    let Verdict { verdict, reason, row, rule } = verdict;
    let reason = reason.as_ref().map(|reason| format!(", {reason}")).unwrap_or_default();
    let row = match (row, rule) {
        (Some(row), Some(rule)) => format!(" ({row}: {rule})"),
        _ => String::new(),
    };
    format!("{verdict}{reason}{row}")
}

fn timer(timer: &Timer) -> String {
    let subject = timer.pod.as_ref().map_or_else(|| "the Job".to_owned(), |pod| format!("pod {pod}"));
    format!("in {:<9}  {subject}: {}", span(timer.in_seconds), verdict(&timer.verdict))
}

fn outcome(outcome: &Outcome) -> String {
    let sinks = outcome.sinks.iter().map(|sink| {
        let error = sink.last_error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
        let attempts = if sink.attempts == 1 { "attempt" } else { "attempts" };
        format!("{}: {} after {} {attempts}{error}", sink.name, sink.state, sink.attempts)
    });
    let sinks: Vec<_> = sinks.collect();
    let sinks = if sinks.is_empty() { "no sink".to_owned() } else { sinks.join("; ") };
    format!("{}  {}  {sinks}", outcome.recorded_at, outcome.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tenant_wrote_does_not_control_the_terminal() {
        let mut explanation = explanation();
        explanation.pods[0].cause.reason = Some("x".to_owned());
        explanation.pods[0].cause.message = Some("\u{1b}[2J\nPod other: lost\r\u{9b}1m".to_owned());
        let text = report(&explanation, Detail::Wide);
        assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("Pod other")), "{text}");
    }

    fn explanation() -> Explanation {
        serde_json::from_str(include_str!("../../tests/fixtures/explanation.json")).expect("a response of the API")
    }

    /// The page shows what is printed. To update it, replace its second block by the output of this test.
    #[test]
    fn the_page_shows_the_real_output() {
        let printed = report(&explanation(), Detail::Brief);
        let page = include_str!("../../../docs/explain.md");
        assert!(page.contains(printed.trim_end()), "{printed}");
    }

    #[test]
    fn wide_adds_uids_and_figures_and_removes_nothing() {
        let (brief, wide) = (report(&explanation(), Detail::Brief), report(&explanation(), Detail::Wide));
        let added: Vec<&str> = wide.lines().filter(|line| !brief.lines().any(|other| other == *line)).collect();
        assert_eq!(wide.lines().count(), brief.lines().count() + added.len());
        assert!(added[0].starts_with("  figures   phase=Running bound=3020s beat=running,128s"), "{added:?}");
        assert!(added.iter().skip(1).all(|line| line.starts_with("  uid  ")), "{added:?}");
    }
}
