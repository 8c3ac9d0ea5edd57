//! `jobwarden outcomes`: the recorded outcomes, their deliveries, and how an operator repeats or ends these.
//!
//! ```text
//!  list, show ─────────► outbox ──► JobOutcome objects of jobwarden's namespace, with the caller's rights
//!  redeliver, cancel ──► change     what becomes of a status: pure
//!                    └─► outbox ──► patch of joboutcomes/status
//! ```

mod act;
mod change;
mod error;
mod list;
mod name;
mod object;
mod outbox;
mod show;

use clap::{Args, Subcommand};

pub(crate) use self::error::OutcomesError;
use self::{
    act::{CancelArgs, RedeliverArgs},
    list::ListArgs,
    show::ShowArgs,
};

/// List recorded outcomes, and deliver them again
///
/// An outcome records how a Job or an attempt ended, as an object JobOutcome in jobwarden's namespace, and how its delivery to each sink
/// stands: pending, acknowledged, refused (the receiver never wants it), or dead (given up: too old, cancelled, or impossible to send).
///
/// Uses the Kubernetes API with your own rights: get and list on joboutcomes, patch on joboutcomes/status in jobwarden's namespace. The Role
/// jobwarden-operator grants them.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  What a receiver never got while it was down, in all namespaces:
    {prog} outcomes list -A --state dead
  Everything about one of them:
    {prog} outcomes show NAME
  The receiver is back; send it all that:
    {prog} outcomes redeliver --all-dead
  Each of these has examples of its own: {prog} outcomes redeliver --help")]
pub(crate) struct OutcomesArgs {
    #[command(subcommand)]
    action: Action,
}

/// What to do.
#[derive(Subcommand, Clone, Debug)]
enum Action {
    List(ListArgs),
    Show(ShowArgs),
    Redeliver(RedeliverArgs),
    Cancel(CancelArgs),
}

impl OutcomesArgs {
    /// Does it, and prints what it did.
    pub(crate) async fn run(self) -> Result<(), OutcomesError> {
        match self.action {
            Action::List(args) => args.run().await,
            Action::Show(args) => args.run().await,
            Action::Redeliver(args) => args.run().await,
            Action::Cancel(args) => args.run().await,
        }
    }
}

#[cfg(test)]
mod fake_api;
#[cfg(test)]
mod tests;
