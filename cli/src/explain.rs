//! `jobwarden explain`: everything the leading reaper knows about one Job.

mod report;
mod target;

use std::time::Duration;

use clap::{Args, ValueEnum};
use jobwarden_common::{api::Explanation, names::api_route};
use tokio::time::timeout;

use self::{
    report::{Detail, report},
    target::{JobPath, Target},
};
use crate::{
    cluster::{ClusterArgs, ClusterError},
    leader::{LeaderArgs, LeaderError},
    output::{self, OutputError},
};

/// The longest that the whole request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Explain the verdict on a Job: evidence, rule, policy, timeline
///
/// Asks the leading reaper by a port-forward through the API server, which it opens itself. This takes permission to get the Lease
/// jobwarden-reaper, and to get and create pods/portforward in jobwarden's namespace; the Role jobwarden-operator has both. With a token
/// of one's own, --url asks the API over TLS, which shows the Jobs that one may get.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  Explain a Job in the namespace of the current context:
    {prog} explain analyzer-7
  Explain a Job in another namespace; both mean the same:
    {prog} explain analyzer-7 -n my-jobs
    {prog} explain my-jobs/analyzer-7
  Add UIDs and the age of every signal:
    {prog} explain analyzer-7 -o wide
  For a script:
    {prog} explain analyzer-7 -o json | jq -r .verdict.verdict
  In a pod, with a token of its own for the audience jobwarden-api:
    {prog} explain my-jobs/analyzer-7 --url https://jobwarden-reaper.jobwarden.svc:8445 --token-file TOKEN --ca-file CA")]
pub(crate) struct ExplainArgs {
    /// The Job, or the bare pod, as NAME or NAMESPACE/NAME
    #[arg(value_name = "NAME")]
    job: Target,

    /// Namespace of the Job; default: the namespace of the context
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    output: Output,

    #[command(flatten)]
    leader: LeaderArgs,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// How the explanation is printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// For people
    Text,
    /// For people, with UIDs and the age of every signal
    Wide,
    /// The API's response
    Json,
    /// The API's response as YAML
    Yaml,
}

/// Why a Job could not be explained.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExplainError {
    /// The kubeconfig.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// NAMESPACE/NAME and `--namespace` differ.
    #[error("{0} names another namespace than --namespace {1}; give only one of them")]
    Namespaces(Target, String),
    /// The reaper.
    #[error(transparent)]
    Leader(#[from] LeaderError),
    /// No response in time.
    #[error("no response within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// Standard output.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl ExplainArgs {
    /// Asks, and prints the explanation.
    pub(crate) async fn run(self) -> Result<(), ExplainError> {
        let Self { job, namespace, output, leader, cluster } = self;
        let text = timeout(TIMEOUT, async {
            let source = leader.source(&cluster.system_namespace, async || cluster.client().await).await?;
            let JobPath { namespace, name } = resolve(job, namespace, default_namespace(&cluster).await)?;
            let explanation: Explanation = source.get(&format!("{}/{namespace}/{name}", api_route::JOBS)).await?;
            Ok::<_, ExplainError>(match output {
                Output::Text => report(&explanation, Detail::Brief),
                Output::Wide => report(&explanation, Detail::Wide),
                Output::Json => output::json(&explanation)?,
                Output::Yaml => output::yaml(&explanation)?,
            })
        });
        Ok(output::print(&text.await.map_err(|_| ExplainError::TimedOut)??)?)
    }
}

/// The Job that is meant.
fn resolve(job: Target, flag: Option<String>, default: String) -> Result<JobPath, ExplainError> {
    match (job.namespace(), flag) {
        (Some(namespace), Some(flag)) if namespace != flag => Err(ExplainError::Namespaces(job, flag)),
        (_, flag) => Ok(job.in_namespace(flag.unwrap_or(default))),
    }
}

/// With `--url` no cluster is needed, so a missing kubeconfig is no error; otherwise the connection has found it.
async fn default_namespace(cluster: &ClusterArgs) -> String {
    cluster.config().await.map_or_else(|_| "default".to_owned(), |config| config.default_namespace)
}

#[cfg(test)]
mod tests;
