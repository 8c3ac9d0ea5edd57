//! `jobwarden explain`: everything the leading reaper knows about one Job.

mod report;
mod target;

use std::time::Duration;

use clap::{Args, ValueEnum};
use jobwarden_common::{api::Explanation, names::api_route};
use kube::Client;
use tokio::time::timeout;

use self::{
    report::{Detail, report},
    target::{JobPath, Target},
};
use crate::{
    cluster::{ClusterArgs, ClusterError},
    leader::{LeaderArgs, LeaderError, Source},
    output::{self, OutputError},
};

/// The longest that the whole request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Explain the verdict on a Job: evidence, rule, policy, timeline
///
/// Asks the leading reaper through the API server's pod proxy, so no port needs to be forwarded. This takes permission to get the
/// Lease jobwarden-reaper and pods/proxy in jobwarden's namespace.
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
  Without access to pods/proxy, through a port-forward to the leader:
    {prog} explain my-jobs/analyzer-7 --url http://127.0.0.1:8082")]
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
        let Self { job, namespace, output, leader: LeaderArgs { url, api_port }, cluster } = self;
        let text = timeout(TIMEOUT, async {
            let (source, default_namespace) = if let Some(url) = url {
                (Source::by_url(url)?, default_namespace(&cluster).await)
            } else {
                let config = cluster.config().await?;
                let default_namespace = config.default_namespace.clone();
                let client = Client::try_from(config).map_err(ClusterError::Connect)?;
                let namespace = cluster.system_namespace;
                (Source::Leader { client, namespace, port: api_port }, default_namespace)
            };
            let JobPath { namespace, name } = resolve(job, namespace, default_namespace)?;
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

/// With `--url` no cluster is needed, so a missing kubeconfig is no error.
async fn default_namespace(cluster: &ClusterArgs) -> String {
    cluster.config().await.map_or_else(|_| "default".to_owned(), |config| config.default_namespace)
}

#[cfg(test)]
mod tests;
