//! The HTTP API of the leading reaper, read through the API server as `docs/explain.md` describes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use jobwarden_common::api::{BreakerReleased, BreakerStatus};
use jobwarden_common::names::{OPERATOR_AUDIENCE, OPERATOR_TOKEN_HEADER, api_route, object, port};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
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
    /// `receiving`, `self-beat` or `watch-down`.
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
        self.signals == "receiving"
    }
}

/// How far the breaker is from tripping.
#[derive(Clone, Debug, Deserialize)]
pub struct Breaker {
    /// The number of nodes that carry workers and are silent.
    pub silent: usize,
    /// The number of nodes that carry workers.
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

/// `GET /v1/breaker`.
pub async fn breaker(client: &Client) -> anyhow::Result<BreakerStatus> {
    get(client, api_route::BREAKER).await
}

/// Releases the breaker as `jobwarden breaker release` does, and returns how many nodes and Jobs were held.
pub async fn release_breaker(client: &Client) -> anyhow::Result<usize> {
    let spec = TokenRequestSpec { audiences: vec![OPERATOR_AUDIENCE.to_owned()], ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), NAMESPACE);
    let granted = accounts.create_token_request(object::OPERATOR, &PostParams::default(), &request).await?;
    let token = granted.status.context("the token request has no token")?.token;
    let request = http::Request::post(proxied(client, api_route::BREAKER_RELEASE).await?);
    let request = request.header(OPERATOR_TOKEN_HEADER, token).body(Vec::new()).context("building the request")?;
    let text = tokio::time::timeout(REQUEST_TIMEOUT, client.request_text(request)).await??;
    let released: BreakerReleased = serde_json::from_str(&text).with_context(|| text.clone())?;
    Ok(released.released)
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

/// The path of a route of the leader's API through the API server.
async fn proxied(client: &Client, route: &str) -> anyhow::Result<String> {
    let leader = metrics::leader(client).await?;
    Ok(format!("/api/v1/namespaces/{NAMESPACE}/pods/{}:{}/proxy{route}", leader.name_any(), port::API))
}

async fn get<T: DeserializeOwned>(client: &Client, route: &str) -> anyhow::Result<T> {
    let path = proxied(client, route).await?;
    let request = http::Request::get(&path).body(Vec::new()).context("building the request")?;
    // A leader that is killed in the meantime may leave the request without an answer.
    let answer = tokio::time::timeout(REQUEST_TIMEOUT, client.request_text(request)).await;
    let text = answer.with_context(|| format!("GET {path}"))?.with_context(|| format!("GET {path}"))?;
    serde_json::from_str(&text).with_context(|| format!("parsing the answer to GET {path}: {text}"))
}
