//! `jobwarden breaker`: what the breaker of the leading reaper holds, and its release.

mod report;

use std::time::Duration;

use clap::{Args, ValueEnum};
use jobwarden_common::{
    api::{BreakerReleased, BreakerStatus},
    names::api_route,
};
use tokio::time::timeout;

use self::report::{Detail, report};
use crate::{
    cluster::{ClusterArgs, ClusterError},
    leader::{LeaderArgs, LeaderError},
    operator::{self, OperatorError},
    output::{self, OutputError},
};

/// The longest that the whole request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Show what the breaker holds, or release it
///
/// The breaker holds losses while many nodes fall silent together, because that looks like a broken network rather than as many dead
/// nodes: at least three nodes and more than 30 % of those that carry workers, or 55 % of a zone of three or more. It releases them by
/// itself when nodes return, or after breaker.holdFor (15 min) one node a minute.
///
/// Release it if you know that the silent nodes are dead: their Jobs are then failed or retried at once. A worker that is still alive
/// behind a broken network would run a second time.
///
/// Asks the leading reaper by a port-forward through the API server, like explain. A release also takes permission to create
/// serviceaccounts/token of jobwarden-operator in jobwarden's namespace. The Role jobwarden-operator grants all of it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  What is held, since when, and what is released next:
    {prog} breaker status
  For a script:
    {prog} breaker status -o json | jq .heldJobs
  The silent nodes are dead; act upon their Jobs now:
    {prog} breaker release
  Let somebody release it:
    kubectl -n jobwarden create rolebinding oncall --role=jobwarden-operator --user=NAME")]
pub(crate) struct BreakerArgs {
    /// What to do
    #[arg(value_enum, value_name = "ACTION")]
    action: Action,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    output: Output,

    #[command(flatten)]
    leader: LeaderArgs,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What to do.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Show what is held
    Status,
    /// Release everything that is held
    Release,
}

/// How the result is printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// For people
    Text,
    /// For people, with every node and Job that is held
    Wide,
    /// The API's response
    Json,
    /// The API's response as YAML
    Yaml,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BreakerError {
    /// The kubeconfig.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The reaper.
    #[error(transparent)]
    Leader(#[from] LeaderError),
    /// The token with which the breaker is released.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// No response in time.
    #[error("no response within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// Standard output.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl BreakerArgs {
    /// Asks, and prints the answer.
    pub(crate) async fn run(self) -> Result<(), BreakerError> {
        let text = timeout(TIMEOUT, self.answer()).await.map_err(|_| BreakerError::TimedOut)??;
        Ok(output::print(&text)?)
    }

    async fn answer(self) -> Result<String, BreakerError> {
        let Self { action, output, leader, cluster } = self;
        let namespace = cluster.system_namespace.clone();
        let source = leader.source(&namespace, async || cluster.client().await).await?;
        match action {
            Action::Status => {
                let status: BreakerStatus = source.get(api_route::BREAKER).await?;
                print(output, &status, |detail| report(&status, detail))
            }
            Action::Release => {
                let token = operator::token(&cluster.client().await?, namespace).await?;
                let released: BreakerReleased = source.post(api_route::BREAKER_RELEASE, &token).await?;
                print(output, &released, |_| report::released(&released))
            }
        }
    }
}

fn print(
    output: Output,
    answer: &impl serde::Serialize,
    text: impl Fn(Detail) -> String,
) -> Result<String, BreakerError> {
    Ok(match output {
        Output::Text => text(Detail::Brief),
        Output::Wide => text(Detail::Wide),
        Output::Json => output::json(answer)?,
        Output::Yaml => output::yaml(answer)?,
    })
}

#[cfg(test)]
mod tests;
