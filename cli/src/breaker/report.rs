//! The state of the breaker as text.

use std::{fmt::Write as _, time::Duration};

use jobwarden_common::api::{BreakerDomain, BreakerHeld, BreakerReleased, BreakerStatus};

/// How many of what is held are named in a brief report.
const NAMED: usize = 5;

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// The first few of what is held.
    Brief,
    /// Everything that is held.
    Wide,
}

/// The state of the breaker, as lines of text.
pub(super) fn report(status: &BreakerStatus, detail: Detail) -> String {
    let BreakerStatus { held_jobs, nodes, silent, hold_for_seconds, domains, .. } = status;
    let mut text = String::new();
    let state = if domains.is_empty() { "closed: it holds nothing".to_owned() } else { jobs(*held_jobs) };
    line(&mut text, format!("Breaker {state}"));
    line(&mut text, format!("  nodes     {nodes} carry workers, {silent} of them are silent"));
    line(&mut text, format!("  hold for  {}, then one node a minute is released", span(*hold_for_seconds)));
    for it in domains {
        domain(&mut text, it, detail);
    }
    text
}

/// What was released.
pub(super) fn released(BreakerReleased { released }: &BreakerReleased) -> String {
    match released {
        0 => "The breaker held nothing.\n".to_owned(),
        1 => "Released 1 node or Job. What it held is acted upon now.\n".to_owned(),
        many => format!("Released {many} nodes and Jobs. What they held is acted upon now.\n"),
    }
}

fn jobs(held: usize) -> String {
    match held {
        0 => "tripped: no loss is due yet".to_owned(),
        1 => "tripped: it holds the loss of 1 Job".to_owned(),
        many => format!("tripped: it holds the losses of {many} Jobs"),
    }
}

fn domain(text: &mut String, domain: &BreakerDomain, detail: Detail) {
    let BreakerDomain { counted, scope, name, affected, of, since, returning, held, next_release_in_seconds } = domain;
    let place = name.as_ref().map_or_else(|| format!("the {scope}"), |name| format!("{scope} {name}"));
    let what = match counted.as_str() {
        "silent-nodes" => "nodes are silent",
        "process-gone-nodes" => "nodes have workers whose processes are gone",
        "heartbeat-lost-jobs" => "Jobs have lost their heartbeats",
        other => other,
    };
    line(text, format!("\nIn {place}, {affected} of {of} {what}, since {since}"));
    if *returning {
        line(text, "  returning  some have returned; it is released when no more have for 30s");
    }
    let next = next_release_in_seconds.map_or_else(
        || "never, while no node that carries workers reports".to_owned(),
        |seconds| format!("in {}", span(seconds)),
    );
    line(text, format!("  next       released {next}"));
    let shown = if detail == Detail::Wide { held.len() } else { NAMED };
    for it in held.iter().take(shown) {
        line(text, format!("  held       {}, for {}", unit(it), span(it.held_seconds)));
    }
    if held.len() > shown {
        line(text, format!("             and {} more; -o wide shows all", held.len() - shown));
    }
}

fn unit(BreakerHeld { kind, namespace, name, .. }: &BreakerHeld) -> String {
    let namespace = namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{kind} {namespace}{name}")
}

fn span(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

fn line(text: &mut String, line: impl AsRef<str>) {
    let _ = writeln!(text, "{}", line.as_ref());
}
