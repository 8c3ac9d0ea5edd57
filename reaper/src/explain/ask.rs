//! `jobwarden-reaper explain`: asks the leader about one Job.
//!
//! The way leads through the API server's pod proxy, with the caller's own kubeconfig: whoever may use it there needs no
//! other credentials, and nothing has to be exposed. The leader is who holds the Lease.

use std::{str::FromStr, time::Duration};

use clap::{Args, ValueEnum};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use jobwarden_common::names::{api_route, object, port};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, client::Body};
use serde::Deserialize;
use tokio::time::timeout;

use super::report::report;
use crate::api::{Problem, model::Explanation};

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Flags of `jobwarden-reaper explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// The Job
    #[arg(value_name = "NAMESPACE/JOB")]
    pub job: JobPath,

    /// Namespace that jobwarden runs in
    #[arg(long, env = "JOBWARDEN_NAMESPACE", default_value = "jobwarden", value_name = "NAME")]
    pub system_namespace: String,

    /// Port of the reaper's API in its pod
    #[arg(long, env = "JOBWARDEN_API_PORT", default_value_t = port::API, value_name = "PORT")]
    pub api_port: u16,

    /// Ask this address, such as `http://127.0.0.1:8082` of a port-forward, instead of the leader by way of the API server
    #[arg(long, env = "JOBWARDEN_API_URL", value_name = "URL")]
    pub url: Option<String>,

    /// How to write the answer
    #[arg(long, short, default_value = "text", value_name = "FORMAT")]
    pub output: Output,
}

/// How the answer is written.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// For people
    Text,
    /// As the API gives it
    Json,
}

/// Namespace and name of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPath {
    namespace: String,
    name: String,
}

impl FromStr for JobPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // By DNS names (RFC 1123), which is what the API server lets through; and nothing else belongs in a path.
        let is_name = |part: &str| {
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        };
        match text.split_once('/') {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("write it as namespace/job".to_owned()),
        }
    }
}

/// Why a Job could not be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// Neither kubeconfig nor service account.
    #[error("cannot find the API server: set KUBECONFIG, or give --url")]
    Client(#[source] kube::Error),
    /// The Lease could not be read.
    #[error(
        "cannot read the Lease {namespace}/{name}, which says who leads; is --system-namespace right, and may you get leases there?"
    )]
    Lease {
        /// Where.
        namespace: String,
        /// Which.
        name: &'static str,
        /// What the API server said.
        source: kube::Error,
    },
    /// Nobody leads.
    #[error("no reaper leads: the Lease {namespace}/{name} has no holder; see `kubectl -n {namespace} get pods`")]
    NoLeader {
        /// Where.
        namespace: String,
        /// Which.
        name: &'static str,
    },
    /// Not allowed.
    #[error(
        "you may not reach the reaper by way of the API server: {0}\nto be allowed to `get pods/proxy` in jobwarden's namespace is enough; or use `kubectl port-forward` and --url"
    )]
    Forbidden(String),
    /// The pod could not be reached.
    #[error(
        "the leader {pod} cannot be reached by way of the API server: {said}\nsee that it runs, that its API listens on the pod's address (--api-addr), and that a NetworkPolicy lets the API server in"
    )]
    Unreachable {
        /// Who leads.
        pod: String,
        /// What the API server said.
        said: String,
    },
    /// The API server could not be asked.
    #[error("the API server does not answer")]
    Ask(#[source] kube::Error),
    /// The address could not be asked.
    #[error("cannot ask {url}")]
    Url {
        /// Which.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// Nothing came in time.
    #[error("no answer came within {} s", PATIENCE.as_secs())]
    TimedOut,
    /// The reaper has no answer.
    #[error("{}\n{}", .0.error, .0.hint)]
    Problem(Box<Problem>),
    /// Not what was expected.
    #[error("the answer (HTTP {status}) is none of a reaper of this version")]
    Answer {
        /// Its status.
        status: StatusCode,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl ExplainArgs {
    /// Asks, and says the answer.
    pub async fn run(&self, say: impl Fn(&str)) -> Result<(), ExplainError> {
        let asking = async {
            match &self.url {
                Some(url) => self.ask_url(url).await,
                None => self.ask_leader(Client::try_default().await.map_err(ExplainError::Client)?).await,
            }
        };
        let (status, body) = timeout(PATIENCE, asking).await.map_err(|_| ExplainError::TimedOut)??;
        let explanation = answer(status, &body)?;
        match self.output {
            Output::Text => say(report(&explanation).trim_end()),
            // Not as it came: what this version does not know is left out, which is as good for scripts and checked.
            Output::Json => match serde_json::to_string_pretty(&explanation) {
                Ok(json) => say(&json),
                Err(source) => return Err(ExplainError::Answer { status, source }),
            },
        }
        Ok(())
    }

    fn path(&self) -> String {
        let JobPath { namespace, name } = &self.job;
        format!("{}/{namespace}/{name}", api_route::JOBS)
    }

    async fn ask_url(&self, url: &str) -> Result<(StatusCode, Vec<u8>), ExplainError> {
        let url = format!("{}{}", url.trim_end_matches('/'), self.path());
        let failed = |source| ExplainError::Url { url: url.clone(), source };
        let response = reqwest::get(&url).await.map_err(failed)?;
        let status = response.status();
        Ok((status, response.bytes().await.map_err(failed)?.to_vec()))
    }

    async fn ask_leader(&self, client: Client) -> Result<(StatusCode, Vec<u8>), ExplainError> {
        let pod = self.leader(&client).await?;
        let uri = format!(
            "/api/v1/namespaces/{}/pods/http:{pod}:{}/proxy{}",
            self.system_namespace,
            self.api_port,
            self.path()
        );
        // Both parts of the path are checked, and the pod's name is the API server's own.
        let request =
            Request::get(uri).body(Body::empty()).map_err(|error| ExplainError::Ask(kube::Error::HttpError(error)))?;
        let response = client.send(request).await.map_err(ExplainError::Ask)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(ExplainError::Ask)?.to_bytes().to_vec();
        if let Some(said) = said_by_api_server(&body) {
            return Err(match status {
                StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => ExplainError::Forbidden(said),
                _ => ExplainError::Unreachable { pod, said },
            });
        }
        // What the proxy itself says when it cannot connect is plain text.
        if matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
            && serde_json::from_slice::<Problem>(&body).is_err()
        {
            return Err(ExplainError::Unreachable { pod, said: String::from_utf8_lossy(&body).trim().to_owned() });
        }
        Ok((status, body))
    }

    /// The pod of the leading reaper: the Lease's holder, without what makes it unique to the process.
    async fn leader(&self, client: &Client) -> Result<String, ExplainError> {
        let (namespace, name) = (self.system_namespace.clone(), object::REAPER_LEASE);
        let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
        let lease = match leases.get(name).await {
            Ok(lease) => lease,
            Err(source) => return Err(ExplainError::Lease { namespace, name, source }),
        };
        let holder = lease.spec.and_then(|spec| spec.holder_identity).filter(|holder| !holder.is_empty());
        let holder = holder.ok_or(ExplainError::NoLeader { namespace, name })?;
        Ok(holder.rsplit_once('_').map_or(holder.clone(), |(pod, _)| pod.to_owned()))
    }
}

/// The message of a `Status` object: what the API server answers by itself.
fn said_by_api_server(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        kind: String,
        #[serde(default)]
        message: String,
    }
    let said: Said = serde_json::from_slice(body).ok()?;
    (said.kind == "Status").then_some(said.message)
}

fn answer(status: StatusCode, body: &[u8]) -> Result<Explanation, ExplainError> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(|source| ExplainError::Answer { status, source });
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Err(ExplainError::Problem(Box::new(problem))),
        Err(source) => Err(ExplainError::Answer { status, source }),
    }
}

#[cfg(test)]
mod tests;
