//! What the leading reaper answers to people, read through the API server as `docs/explain.md` says.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use jobwarden_common::names::{api_route, port};
use kube::{Client, ResourceExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::install::NAMESPACE;
use crate::metrics;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the leader hears, and what it holds.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Guards {
    /// `open`, `deaf` or `watch-down`.
    pub ears: String,
    /// For how long this leader has listened.
    pub listening_seconds: u64,
    /// The breaker.
    pub breaker: Breaker,
    /// Jobs with a lost verdict about which nothing is done.
    pub held: Vec<Held>,
}

/// How far the breaker is from tripping.
#[derive(Clone, Debug, Deserialize)]
pub struct Breaker {
    /// Jobs that are lost or about to be.
    pub lost: usize,
    /// Of how many.
    pub of: usize,
    /// Whether it holds a lost verdict.
    pub holds: bool,
}

/// A Job that is held.
#[derive(Clone, Debug, Deserialize)]
pub struct Held {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which guard holds it.
    pub guard: String,
}

/// `GET /v1/guards`.
pub async fn guards(client: &Client) -> anyhow::Result<Guards> {
    get(client, api_route::GUARDS).await
}

/// `GET /v1/jobs/{namespace}/{name}`.
pub async fn explanation(client: &Client, namespace: &str, job: &str) -> anyhow::Result<Value> {
    get(client, &format!("{}/{namespace}/{job}", api_route::JOBS)).await
}

/// Waits until both the sidecar and the agent have told the leader that a worker of the Job lives.
pub async fn until_heard(client: &Client, namespace: &str, job: &str, patience: Duration) -> anyhow::Result<()> {
    until(client, namespace, job, patience, "heard", |explanation| {
        let pods = explanation["pods"].as_array();
        let heard = |pod: &Value| pod["figures"]["beat"] == "running" && pod["figures"]["agent"] == "alive";
        pods.is_some_and(|pods| pods.iter().any(heard))
    })
    .await
    .map(drop)
}

/// Waits until the explanation of the Job satisfies `wanted`, and returns it.
pub async fn until(
    client: &Client,
    namespace: &str,
    job: &str,
    patience: Duration,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let give_up = Instant::now() + patience;
    loop {
        let now = explanation(client, namespace, job).await;
        match now {
            Ok(explanation) if wanted(&explanation) => return Ok(explanation),
            now if Instant::now() > give_up => {
                bail!("{namespace}/{job} was not {what} within {patience:?}: {now:#?}")
            }
            _ => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

async fn get<T: DeserializeOwned>(client: &Client, route: &str) -> anyhow::Result<T> {
    let leader = metrics::leader(client).await?;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{}:{}/proxy{route}", leader.name_any(), port::API);
    let request = http::Request::get(&path).body(Vec::new()).context("a pod's name fits into a path")?;
    // A leader that is killed meanwhile may leave the question without an answer.
    let answer = tokio::time::timeout(PATIENCE, client.request_text(request)).await;
    let text = answer.with_context(|| format!("asking {path}"))?.with_context(|| format!("asking {path}"))?;
    serde_json::from_str(&text).with_context(|| format!("reading the answer of {path}: {text}"))
}
