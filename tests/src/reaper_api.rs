//! The HTTP API of the leading reaper, read through the API server as `docs/explain.md` describes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use jobwarden_common::names::{api_route, port};
use kube::{Client, ResourceExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::install::NAMESPACE;
use crate::metrics;

/// How long a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether the leader receives signals, and what its guards hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Guards {
    /// `open`, `deaf` or `watch-down`.
    #[serde(rename = "ears")]
    pub signals: String,
    /// For how many seconds this leader has received signals.
    pub listening_seconds: u64,
    /// The breaker.
    pub breaker: Breaker,
    /// Jobs with a lost verdict that a guard holds.
    pub held: Vec<Held>,
}

impl Guards {
    /// Whether the leader receives heartbeats and the API server's watches.
    pub fn receives_signals(&self) -> bool {
        self.signals == "open"
    }
}

/// How far the breaker is from tripping.
#[derive(Clone, Debug, Deserialize)]
pub struct Breaker {
    /// The number of Jobs that are lost or about to be lost.
    pub lost: usize,
    /// The number of all Jobs that it counts.
    pub of: usize,
    /// Whether it holds lost verdicts.
    pub holds: bool,
}

/// A Job that a guard holds.
#[derive(Clone, Debug, Deserialize)]
pub struct Held {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The guard.
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

/// Waits until both the sidecar and the agent have reported to the leader that a worker of the Job is alive.
pub async fn until_reported_alive(
    client: &Client,
    namespace: &str,
    job: &str,
    timeout: Duration,
) -> anyhow::Result<()> {
    until(client, namespace, job, timeout, "reported alive", |explanation| {
        let pods = explanation["pods"].as_array();
        let alive = |pod: &Value| pod["figures"]["beat"] == "running" && pod["figures"]["agent"] == "alive";
        pods.is_some_and(|pods| pods.iter().any(alive))
    })
    .await
    .map(drop)
}

/// Waits until the explanation of the Job satisfies `wanted`, which `state` names, and returns it.
pub async fn until(
    client: &Client,
    namespace: &str,
    job: &str,
    timeout: Duration,
    state: &str,
    wanted: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let give_up = Instant::now() + timeout;
    loop {
        let now = explanation(client, namespace, job).await;
        match now {
            Ok(explanation) if wanted(&explanation) => return Ok(explanation),
            now if Instant::now() > give_up => {
                bail!("Job {namespace}/{job} is not {state} after {timeout:?}: {now:#?}")
            }
            _ => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

async fn get<T: DeserializeOwned>(client: &Client, route: &str) -> anyhow::Result<T> {
    let leader = metrics::leader(client).await?;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{}:{}/proxy{route}", leader.name_any(), port::API);
    let request = http::Request::get(&path).body(Vec::new()).context("building the request")?;
    // A leader that is killed in the meantime may leave the request without an answer.
    let answer = tokio::time::timeout(REQUEST_TIMEOUT, client.request_text(request)).await;
    let text = answer.with_context(|| format!("GET {path}"))?.with_context(|| format!("GET {path}"))?;
    serde_json::from_str(&text).with_context(|| format!("parsing the answer to GET {path}: {text}"))
}
