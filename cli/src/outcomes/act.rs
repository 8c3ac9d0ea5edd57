//! `jobwarden outcomes redeliver` and `cancel`.

use std::pin::pin;

use clap::Args;
use futures::{Stream, StreamExt as _, stream};
use jobwarden_serve::logs::with_causes;
use k8s_openapi::jiff::Timestamp;

use super::{
    change::{Change, Operation, Which},
    error::OutcomesError,
    name::OutcomeName,
    object::{Outcome, State},
    outbox::{Outbox, OutboxError},
};
use crate::{
    cluster::ClusterArgs,
    output::{self, OutputError, printable},
};

/// Patches that are under way at the same time.
const CONCURRENCY: usize = 8;

/// Deliver outcomes again that were given up or refused
///
/// Their deliveries become pending, with a new time to live and without their errors; the reaper attempts them in their turn. Receivers
/// deduplicate by the ID of the notification, which stays the same.
///
/// Of the outcomes that are named, this concerns deliveries that are dead or refused. --all-dead finds all that are dead, of all
/// namespaces. Test the sink first: jobwarden sinks test NAME.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  A receiver was down for longer than giveUpAfter; send it what it missed:
    {prog} outcomes redeliver --all-dead --sink orchestrator
  What would that be?
    {prog} outcomes redeliver --all-dead --sink orchestrator --dry-run
  One outcome, to every sink that did not get it:
    {prog} outcomes redeliver NAME
  The receiver has lost what it acknowledged:
    {prog} outcomes redeliver NAME --sink orchestrator --again")]
pub(super) struct RedeliverArgs {
    /// The outcomes
    #[arg(value_name = "NAME", required_unless_present = "all_dead", conflicts_with = "all_dead")]
    names: Vec<OutcomeName>,

    /// All deliveries that are dead
    #[arg(long)]
    all_dead: bool,

    /// Only deliveries to this sink
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,

    /// Also what the sink has acknowledged
    #[arg(long, requires = "sink", conflicts_with = "all_dead")]
    again: bool,

    /// Change nothing, but let the API server check that it could be done
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// End deliveries that are pending
///
/// They become dead, with the error 'cancelled by an operator'. An attempt that is under way may still succeed. A cancelled delivery can
/// be delivered again: outcomes redeliver.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  The sink 'archive' will never be back, but the outcome still waits for it:
    {prog} outcomes cancel NAME --sink archive
  All that waits for it:
    {prog} outcomes list -A --sink archive --state pending -o name | xargs {prog} outcomes cancel --sink archive")]
pub(super) struct CancelArgs {
    /// The outcomes
    #[arg(value_name = "NAME", required = true)]
    names: Vec<OutcomeName>,

    /// Only deliveries to this sink
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Prints a line about each outcome.
pub(super) type Print<'a> = &'a dyn Fn(String) -> Result<(), OutputError>;

/// An operation on outcomes.
pub(super) struct Act {
    pub(super) operation: Operation,
    pub(super) sink: Option<String>,
    pub(super) dry_run: bool,
}

/// What was done to one outcome.
struct Done {
    name: String,
    /// Nothing, if the outcome was deleted meanwhile.
    change: Option<Change>,
}

/// What was done so far.
#[derive(Default)]
struct Count {
    deliveries: usize,
    outcomes: usize,
    failed: usize,
}

fn print_line(line: String) -> Result<(), OutputError> {
    output::print(&(line + "\n"))
}

impl RedeliverArgs {
    pub(super) async fn run(self) -> Result<(), OutcomesError> {
        let Self { names, all_dead, sink, again, dry_run, cluster } = self;
        let which = match (all_dead, again) {
            (true, _) => Which::Dead,
            (false, true) => Which::Ended,
            (false, false) => Which::Unacknowledged,
        };
        let now = Timestamp::now();
        // The reaper writes milliseconds too.
        let now = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now).to_string();
        let act = Act { operation: Operation::Redeliver { which, now }, sink, dry_run };
        let outbox = Outbox::new(cluster.client().await?, &cluster.system_namespace);
        if all_dead { act.all_dead(&outbox, &print_line).await } else { act.named(&outbox, names, &print_line).await }
    }
}

impl CancelArgs {
    pub(super) async fn run(self) -> Result<(), OutcomesError> {
        let Self { names, sink, cluster } = self;
        let act = Act { operation: Operation::Cancel, sink, dry_run: false };
        act.named(&Outbox::new(cluster.client().await?, &cluster.system_namespace), names, &print_line).await
    }
}

impl Act {
    /// Does it for the outcomes with these names, and says of each sink what was done or why not.
    pub(super) async fn named(
        &self,
        outbox: &Outbox,
        names: Vec<OutcomeName>,
        print: Print<'_>,
    ) -> Result<(), OutcomesError> {
        let done = stream::iter(names).map(async |name| {
            let outcome = outbox.get(&name).await?;
            self.apply(outbox, outcome).await
        });
        self.conclude(done.buffered(CONCURRENCY), print).await
    }

    /// Does it for every outcome with a dead delivery.
    pub(super) async fn all_dead(&self, outbox: &Outbox, print: Print<'_>) -> Result<(), OutcomesError> {
        let outcomes = outbox.list(|outcome| {
            let of_sink = |name: &str| self.sink.as_ref().is_none_or(|sink| sink == name);
            outcome.written.iter().any(|it| it.state == State::Dead && of_sink(&it.sink))
        });
        let done = stream::iter(outcomes.await?).map(async |outcome| self.apply(outbox, outcome).await);
        self.conclude(done.buffered(CONCURRENCY), print).await
    }

    async fn apply(&self, outbox: &Outbox, outcome: Outcome) -> Result<Done, OutboxError> {
        let name = outcome.name();
        let change = outbox.apply(outcome, &self.operation, self.sink.as_deref(), self.dry_run).await?;
        Ok(Done { name, change })
    }

    /// Prints what is done to each outcome, and the sum.
    async fn conclude(
        &self,
        done: impl Stream<Item = Result<Done, OutboxError>>,
        print: Print<'_>,
    ) -> Result<(), OutcomesError> {
        let (mut done, mut count) = (pin!(done), Count::default());
        while let Some(result) = done.next().await {
            match result {
                Ok(done) => self.report(&mut count, done, print)?,
                // The same would be said about each of the others.
                Err(error @ (OutboxError::Forbidden { .. } | OutboxError::NotServed)) => return Err(error.into()),
                Err(error) => {
                    count.failed += 1;
                    output::message(&format!("error: {}", with_causes(&error)));
                }
            }
        }
        print(self.sum(&count))?;
        if count.failed == 0 {
            return Ok(());
        }
        Err(OutcomesError::Incomplete(format!("{} could not be changed; see above", outcomes(count.failed))))
    }

    fn report(&self, count: &mut Count, done: Done, print: Print<'_>) -> Result<(), OutputError> {
        let Done { name, change } = done;
        let Some(Change { changed, mut skipped, .. }) = change else {
            return print(format!("{name}  skipped: it was deleted meanwhile"));
        };
        count.outcomes += usize::from(!changed.is_empty());
        count.deliveries += changed.len();
        let did = match (&self.operation, self.dry_run) {
            (Operation::Redeliver { .. }, false) => "pending again",
            (Operation::Redeliver { .. }, true) => "would be pending again",
            (Operation::Cancel, _) => "cancelled",
        };
        if self.finds_dead() && !changed.is_empty() {
            // Other sinks of the outcome are not what was asked for.
            skipped.clear();
        }
        for sink in changed {
            print(printable(&format!("{name}  {sink}: {did}")).into_owned())?;
        }
        for (sink, why) in skipped {
            print(printable(&format!("{name}  {sink}: skipped, {why}")).into_owned())?;
        }
        Ok(())
    }

    /// Whether it finds the outcomes itself.
    fn finds_dead(&self) -> bool {
        matches!(self.operation, Operation::Redeliver { which: Which::Dead, .. })
    }

    /// The last line.
    fn sum(&self, count: &Count) -> String {
        let deliveries = if count.deliveries == 1 { "delivery" } else { "deliveries" };
        let what = format!("{} {deliveries} of {}", count.deliveries, outcomes(count.outcomes));
        match (&self.operation, self.dry_run) {
            _ if count.deliveries == 0 && count.failed == 0 && self.finds_dead() => "No delivery is dead.".to_owned(),
            _ if count.deliveries == 0 => "Nothing was changed.".to_owned(),
            (Operation::Redeliver { .. }, true) => format!("{what} would be pending again; nothing was changed."),
            (Operation::Redeliver { .. }, false) => {
                format!("{what} pending again. 'jobwarden sinks' shows how many are left.")
            }
            (Operation::Cancel, _) => {
                format!("{what} cancelled. To undo this: jobwarden outcomes redeliver, with the same names and --sink.")
            }
        }
    }
}

fn outcomes(count: usize) -> String {
    if count == 1 { "1 outcome".to_owned() } else { format!("{count} outcomes") }
}
