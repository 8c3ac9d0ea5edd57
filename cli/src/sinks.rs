//! `jobwarden sinks`: the state of the sinks as the leading reaper sees it, and a test of one.

mod report;

use std::{process::ExitCode, time::Duration};

use clap::{Args, ValueEnum};
use jobwarden_common::{
    api::{SinkList, SinkTest},
    names::api_route,
};
use k8s_openapi::jiff::Timestamp;
use tokio::time::timeout;

use self::report::Detail;
use crate::{
    cluster::{ClusterArgs, ClusterError},
    leader::{LeaderArgs, LeaderError, Source},
    operator::{self, OperatorError},
    output::{self, OutputError},
};

/// The longest that a list may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that a test may take: there is a sample for each kind of outcome, and a sink that hangs ends each by its own timeout.
const TEST_TIMEOUT: Duration = Duration::from_mins(3);

/// Show the state of the sinks, or send samples to one
///
/// A sink is where notifications of outcomes are sent: an HTTP endpoint, or a queue of RabbitMQ or AMQP 1.0. It is 'ok', or 'failing'
/// after several errors in a row: then it gets one probe at a time until one is acknowledged, while outcomes wait.
///
/// 'test' sends one sample of each kind of outcome, marked as a sample, and exits with 1 if one was not acknowledged. A kind that the
/// format of the sink has no message for is skipped. Nothing is recorded, and no outcome that waits is sent.
///
/// Asks the leading reaper by a port-forward through the API server, like explain. A test also takes permission to create
/// serviceaccounts/token of jobwarden-operator in jobwarden's namespace. The Role jobwarden-operator grants all of it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  Which sinks are failing, since when and why, and how much waits for them:
    {prog} sinks
  Whole error messages, and the number of notifications that are being sent:
    {prog} sinks -o wide
  Does the receiver of the sink 'orchestrator' accept what it would get?
    {prog} sinks test orchestrator
  For a script:
    {prog} sinks -o json | jq '.sinks[] | select(.state != \"ok\") | .name'
  What to do when a sink was down for too long: {prog} outcomes --help")]
pub(crate) struct SinksArgs {
    /// What to do
    #[arg(value_enum, default_value_t = Action::List, value_name = "ACTION")]
    action: Action,

    /// The sink to test, or the only one to list
    #[arg(value_name = "NAME", required_if_eq("action", "test"), value_parser = sink_name)]
    name: Option<String>,

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
    /// Show the state of the sinks
    List,
    /// Send one sample of each kind of outcome to a sink
    Test,
}

/// How the result is printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// For people
    Text,
    /// For people, with whole error messages
    Wide,
    /// The API's response
    Json,
    /// The API's response as YAML
    Yaml,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SinksError {
    /// The kubeconfig.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The reaper.
    #[error(transparent)]
    Leader(#[from] LeaderError),
    /// The token with which a sink is tested.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// There is no such sink to list.
    #[error("there is no sink {name}; {}", known(.names))]
    NoSink { name: String, names: Vec<String> },
    /// No response in time.
    #[error("no response within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// Standard output.
    #[error(transparent)]
    Output(#[from] OutputError),
}

fn known(names: &[String]) -> String {
    if names.is_empty() { "none is configured".to_owned() } else { format!("configured: {}", names.join(", ")) }
}

impl SinksArgs {
    /// Asks, prints the answer, and returns a failure if a sample was not acknowledged.
    pub(crate) async fn run(self) -> Result<ExitCode, SinksError> {
        let longest = match self.action {
            Action::List => LIST_TIMEOUT,
            Action::Test => TEST_TIMEOUT,
        };
        let (text, status) = timeout(longest, self.answer()).await.map_err(|_| SinksError::TimedOut(longest))??;
        output::print(&text)?;
        Ok(status)
    }

    async fn answer(self) -> Result<(String, ExitCode), SinksError> {
        let Self { action, name, output, leader, cluster } = self;
        let namespace = cluster.system_namespace.clone();
        let source = leader.source(&namespace, async || cluster.client().await).await?;
        match (action, name) {
            // clap requires a name for a test.
            (Action::List, name) | (Action::Test, name @ None) => {
                let list = only(source.get(api_route::SINKS).await?, name)?;
                let now = Timestamp::now();
                let text = print(output, &list, |detail| report::list(&list, detail, now))?;
                Ok((text, ExitCode::SUCCESS))
            }
            (Action::Test, Some(name)) => {
                let token = operator::token(&cluster.client().await?, namespace).await?;
                let test = send_samples(&source, &name, &token).await?;
                let text = print(output, &test, |_| report::test(&name, &test))?;
                Ok((text, if report::failed(&test) { ExitCode::FAILURE } else { ExitCode::SUCCESS }))
            }
        }
    }
}

/// Has the leader send samples to a sink.
async fn send_samples(source: &Source, name: &str, token: &str) -> Result<SinkTest, LeaderError> {
    source.post(&format!("{}/{name}/test", api_route::SINKS), token).await
}

/// The sinks, or the one with this name.
fn only(list: SinkList, name: Option<String>) -> Result<SinkList, SinksError> {
    let Some(name) = name else { return Ok(list) };
    let names = list.sinks.iter().map(|sink| sink.name.clone()).collect();
    let sinks: Vec<_> = list.sinks.into_iter().filter(|sink| sink.name == name).collect();
    if sinks.is_empty() { Err(SinksError::NoSink { name, names }) } else { Ok(SinkList { sinks }) }
}

fn print(
    output: Output,
    answer: &impl serde::Serialize,
    text: impl Fn(Detail) -> String,
) -> Result<String, SinksError> {
    Ok(match output {
        Output::Text => text(Detail::Brief),
        Output::Wide => text(Detail::Wide),
        Output::Json => output::json(answer)?,
        Output::Yaml => output::yaml(answer)?,
    })
}

/// The name of a sink, as the reaper's configuration accepts it. Other characters must not get into the path of a request.
fn sink_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err("expected the name of a sink: characters of a-z, 0-9 and -".to_owned())
}

#[cfg(test)]
mod tests;
