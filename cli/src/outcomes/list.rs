//! `jobwarden outcomes list`.

use std::time::Duration;

use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use humantime::parse_duration;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde_json::json;

use super::{
    error::OutcomesError,
    name::typed,
    object::{Delivery, Outcome, State},
    outbox::Outbox,
};
use crate::{
    cluster::{ClusterArgs, ClusterError},
    output::{self, OutputError},
    table::{ABSENT, Table},
    text::age,
};

/// The kinds of outcomes (`OutcomeKind`).
const KINDS: [&str; 8] =
    ["succeeded", "failed", "lost", "deleted", "suspect", "attempt_failed", "recovered", "coalesced"];

/// List outcomes with the state of their deliveries
///
/// The oldest first. A delivery to a sink that was not attempted yet is pending.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  Outcomes of Jobs in the namespace of the current context:
    {prog} outcomes list
  What was not delivered to the sink 'orchestrator' and will not be, in all namespaces:
    {prog} outcomes list -A --sink orchestrator --state dead
  What is known about run 41:
    {prog} outcomes list -A --run 41
  Jobs lost within an hour, with errors and attempts:
    {prog} outcomes list -A --kind lost --since 1h -o wide
  Names for another command:
    {prog} outcomes list -A --state refused -o name | xargs {prog} outcomes redeliver")]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// Namespace of the Jobs; default: the namespace of the context
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,

    /// Jobs of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    output: Output,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Which outcomes are listed.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct FilterArgs {
    /// Only outcomes for this sink
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,

    /// Only outcomes with a delivery in this state; with --sink, the delivery to that sink
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<StateArg>,

    /// Only outcomes of this kind
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(KINDS))]
    kind: Option<String>,

    /// Only outcomes of this run of the orchestrator
    #[arg(long, value_name = "ID")]
    run: Option<String>,

    /// Only outcomes recorded within this time, such as 1h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    since: Option<Duration>,
}

/// The states that can be asked for.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum StateArg {
    /// To be attempted, for the first time or again
    Pending,
    /// Received
    Acknowledged,
    /// The receiver never wants it
    Refused,
    /// Given up
    Dead,
}

impl StateArg {
    fn is(self, state: &State) -> bool {
        matches!(
            (self, state),
            (Self::Pending, State::Pending)
                | (Self::Acknowledged, State::Acknowledged)
                | (Self::Refused, State::Refused)
                | (Self::Dead, State::Dead)
        )
    }
}

/// How the list is printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// For people
    Text,
    /// For people, with attempts and last errors
    Wide,
    /// The names, for other commands
    Name,
    /// A List of the objects
    Json,
    /// The same in YAML
    Yaml,
}

/// Which outcomes match, at a time.
pub(super) struct Filter {
    pub(super) args: FilterArgs,
    /// The Jobs' namespace, unless all are listed.
    pub(super) namespace: Option<String>,
    pub(super) now: Timestamp,
}

impl Filter {
    pub(super) fn accepts(&self, outcome: &Outcome) -> bool {
        let Self { args: FilterArgs { sink, state, kind, run, since }, namespace, now } = self;
        let spec = &outcome.spec;
        let of_delivery = || {
            let asked = |delivery: &Delivery| {
                sink.as_ref().is_none_or(|sink| *sink == delivery.sink) && state.is_none_or(|it| it.is(&delivery.state))
            };
            sink.is_none() && state.is_none() || outcome.deliveries().iter().any(asked)
        };
        let recent = |since: &Duration| {
            let at: Option<Timestamp> = spec.created_at.parse().ok();
            at.is_some_and(|at| now.duration_since(at).as_secs_f64() <= since.as_secs_f64())
        };
        namespace.as_ref().is_none_or(|it| *it == spec.namespace)
            && kind.as_ref().is_none_or(|it| *it == spec.kind)
            && run.as_ref().is_none_or(|it| spec.run_id.as_ref() == Some(it))
            && since.as_ref().is_none_or(recent)
            && of_delivery()
    }
}

impl ListArgs {
    pub(super) async fn run(self) -> Result<(), OutcomesError> {
        let Self { filter: args, namespace, all_namespaces, output, cluster } = self;
        let config = cluster.config().await?;
        let namespace =
            if all_namespaces { None } else { Some(namespace.unwrap_or_else(|| config.default_namespace.clone())) };
        let client = Client::try_from(config).map_err(ClusterError::Connect)?;
        let filter = Filter { args, namespace, now: Timestamp::now() };
        let outbox = Outbox::new(client, &cluster.system_namespace);
        let outcomes = outbox.list(|outcome| filter.accepts(outcome)).await?;
        Ok(output::print(&print(&outcomes, output, &filter)?)?)
    }
}

pub(super) fn print(outcomes: &[Outcome], output: Output, filter: &Filter) -> Result<String, OutputError> {
    Ok(match output {
        Output::Text | Output::Wide if outcomes.is_empty() => none(filter),
        Output::Text => table(outcomes, false, filter.now),
        Output::Wide => table(outcomes, true, filter.now),
        Output::Name => outcomes.iter().map(|outcome| typed(&outcome.name()) + "\n").collect(),
        Output::Json => output::json(&objects(outcomes))?,
        Output::Yaml => output::yaml(&objects(outcomes))?,
    })
}

/// As kubectl prints several objects.
fn objects(outcomes: &[Outcome]) -> serde_json::Value {
    let items: Vec<_> = outcomes.iter().map(|outcome| &outcome.object).collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

fn none(filter: &Filter) -> String {
    match &filter.namespace {
        Some(namespace) => {
            format!("No outcome of a Job in the namespace {namespace} matches. Look in all namespaces with -A.\n")
        }
        None => "No outcome matches. Settled outcomes are kept for a limited time and number.\n".to_owned(),
    }
}

fn table(outcomes: &[Outcome], wide: bool, now: Timestamp) -> String {
    let mut table = Table::new(&["NAME", "KIND", "JOB", "RUN", "REASON", "AGE", "SINKS"]);
    for outcome in outcomes {
        let spec = &outcome.spec;
        let sinks: Vec<String> = outcome.deliveries().iter().map(|delivery| sink(delivery, wide)).collect();
        table.row(&[
            outcome.name(),
            spec.kind.clone(),
            outcome.subject(),
            spec.run_id.clone().unwrap_or_else(|| ABSENT.to_owned()),
            spec.reason.clone(),
            age(&spec.created_at, now),
            if sinks.is_empty() { "none".to_owned() } else { sinks.join(", ") },
        ]);
    }
    table.text()
}

fn sink(delivery: &Delivery, wide: bool) -> String {
    let Delivery { sink, state, attempts, last_error, .. } = delivery;
    let state = state.as_str();
    if !wide {
        return format!("{sink} {state}");
    }
    let attempts = if *attempts == 1 { "1 attempt".to_owned() } else { format!("{attempts} attempts") };
    let error = last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    format!("{sink} {state} ({attempts}{error})")
}

#[cfg(test)]
mod tests;
