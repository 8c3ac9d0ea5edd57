//! `jobwarden outcomes show`.

use clap::{Args, ValueEnum};
use jobwarden_common::notification::{Coalesced, Logs, OutcomeData};
use k8s_openapi::jiff::Timestamp;

use super::{
    error::OutcomesError,
    name::OutcomeName,
    object::{Delivery, Outcome, State},
    outbox::Outbox,
};
use crate::{
    cluster::ClusterArgs,
    output::{self, OutputError},
    text::{age, line, section},
    usage::usage,
};

/// Show everything about one outcome
///
/// What was recorded: kind, reason, cause, evidence, usage, timeline. Then the delivery to each sink, with the last error.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  Everything about an outcome that 'outcomes list' or 'explain' shows:
    {prog} outcomes show NAME
  The notification's data, as receivers get it:
    {prog} outcomes show NAME -o json | jq .spec.data")]
pub(super) struct ShowArgs {
    /// The outcome
    #[arg(value_name = "NAME")]
    name: OutcomeName,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    output: Output,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// How the outcome is printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// For people
    Text,
    /// The object
    Json,
    /// The object as YAML
    Yaml,
}

impl ShowArgs {
    pub(super) async fn run(self) -> Result<(), OutcomesError> {
        let Self { name, output, cluster } = self;
        let outcome = Outbox::new(cluster.client().await?, &cluster.system_namespace).get(&name).await?;
        Ok(output::print(&print(&outcome, output)?)?)
    }
}

fn print(outcome: &Outcome, output: Output) -> Result<String, OutputError> {
    Ok(match output {
        Output::Text => report(outcome, Timestamp::now()),
        Output::Json => output::json(&outcome.object)?,
        Output::Yaml => output::yaml(&outcome.object)?,
    })
}

/// Everything about an outcome, as lines of text.
pub(super) fn report(outcome: &Outcome, now: Timestamp) -> String {
    let mut text = String::new();
    let spec = &outcome.spec;
    let data = outcome.data();
    line(&mut text, format!("Outcome {}: {}, {}", outcome.name(), spec.kind, spec.reason));
    field(&mut text, subject_kind(data.as_ref()), Some(&outcome.subject()));
    field(&mut text, "run", spec.run_id.as_deref());
    field(&mut text, "recorded", Some(&format!("{}, {} ago", spec.created_at, age(&spec.created_at, now))));
    match &data {
        Some(data) => body(&mut text, data),
        None => line(&mut text, "  (its data are of another version of jobwarden; -o yaml shows them)"),
    }
    deliveries(&mut text, outcome);
    text
}

fn field(text: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        line(text, format!("  {name:<9}  {value}"));
    }
}

const fn subject_kind(data: Option<&OutcomeData>) -> &'static str {
    match data {
        Some(OutcomeData { coalesced: Some(_), .. }) => "namespace",
        _ => "job",
    }
}

fn body(text: &mut String, data: &OutcomeData) {
    let OutcomeData { job_id, trace_id, attempt, message, cause, decided_by, evidence, timeline, .. } = data;
    field(text, "job ID", job_id.as_ref().map(ToString::to_string).as_deref());
    field(text, "trace", trace_id.as_deref());
    let pod = attempt.as_ref().map(|attempt| {
        let node = attempt.node.as_ref().map(|node| format!(" on node {node}")).unwrap_or_default();
        format!("{}{node}", attempt.pod_name)
    });
    field(text, "pod", pod.as_deref());
    field(text, "message", Some(message));
    field(text, "rule", Some(&format!("{}: {}", decided_by.row, decided_by.rule)));
    field(text, "cause", cause.sentence().as_deref());
    field(text, "", cause.message.as_deref());
    section(text, "Evidence", evidence.iter().map(|fact| format!("{:<8}  {}", fact.of, fact.is)));
    section(text, "Usage", data.usage.iter().map(usage));
    if let Some(logs) = &data.logs {
        log_lines(text, logs);
    }
    section(text, "Timeline", timeline.iter().map(|entry| format!("{}  {}", entry.at, entry.event)));
    if let Some(coalesced) = &data.coalesced {
        together(text, coalesced);
    }
}

/// The last log lines, or why there are none.
fn log_lines(text: &mut String, Logs { container, previous, lines, truncated, unavailable }: &Logs) {
    let of = container.as_ref().map(|name| format!(" of container {name}")).unwrap_or_default();
    let run = if *previous { ", in its run before the present one" } else { "" };
    let none = unavailable.as_ref().map(|why| format!("none: {why}"));
    let earlier = truncated.then(|| "…".to_owned());
    section(text, &format!("Last log lines{of}{run}"), none.into_iter().chain(earlier).chain(lines.iter().cloned()));
}

/// What is reported together.
fn together(text: &mut String, Coalesced { count, by, jobs }: &Coalesced) {
    let kinds = by.iter().map(|it| format!("{:<5}  {}, {}", it.count, it.kind, it.reason));
    section(text, &format!("{count} outcomes reported together"), kinds);
    let jobs = jobs.iter().map(|job| format!("{}: {}, {}", job.job_name, job.kind, job.reason));
    section(text, "Some of the Jobs", jobs);
}

fn deliveries(text: &mut String, outcome: &Outcome) {
    let deliveries = outcome.deliveries();
    if deliveries.is_empty() {
        line(text, "\nNo sink receives it, by the sinks and filters at the time it was recorded.");
        return;
    }
    line(text, "\nDeliveries:");
    let width = deliveries.iter().map(|it| it.sink.chars().count()).max().unwrap_or(0);
    for delivery in &deliveries {
        line(text, format!("  {:width$}  {}", delivery.sink, state(delivery, &outcome.spec.created_at)));
        if let Some(error) = &delivery.last_error {
            line(text, format!("  {:width$}  last error: {error}", ""));
        }
    }
    let name = outcome.name();
    if let Some(it) = deliveries.iter().find(|it| matches!(it.state, State::Dead | State::Refused)) {
        line(text, format!("\nTo send it again: jobwarden outcomes redeliver {name} --sink {}", it.sink));
    }
}

/// `pending since T, after 3 attempts, the last at T`.
fn state(delivery: &Delivery, recorded: &str) -> String {
    let Delivery { state, attempts, last_attempt_at, pending_since, acknowledged_at, .. } = delivery;
    let since = match (state, acknowledged_at) {
        (State::Pending, _) => format!(" since {}", pending_since.as_deref().unwrap_or(recorded)),
        (_, Some(at)) => format!(" at {at}"),
        _ => String::new(),
    };
    let attempts = match attempts {
        0 => ", not attempted".to_owned(),
        1 => ", 1 attempt".to_owned(),
        many => format!(", {many} attempts"),
    };
    let last = last_attempt_at.as_ref().filter(|_| acknowledged_at.is_none());
    let last = last.map(|at| format!(", the last at {at}")).unwrap_or_default();
    format!("{}{since}{attempts}{last}", state.as_str())
}

#[cfg(test)]
mod tests;
