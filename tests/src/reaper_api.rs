//! The HTTP API of the leading reaper, read by a port-forward to the loopback of its pod as `docs/explain.md` describes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use http::header;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use jobwarden_common::api::{BreakerReleased, BreakerStatus};
use jobwarden_common::names::{OPERATOR_AUDIENCE, OPERATOR_TOKEN_HEADER, api_route, object, port};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
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
    let request = http::Request::post(api_route::BREAKER_RELEASE).header(OPERATOR_TOKEN_HEADER, token);
    let text = forwarded(client, request).await?;
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

/// The answer of the leader's API on the loopback of its pod.
async fn forwarded(client: &Client, request: http::request::Builder) -> anyhow::Result<String> {
    let asking = async {
        let leader = metrics::leader(client).await?.name_any();
        let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
        let mut forwarder = pods.portforward(&leader, &[port::API]).await.context("forwarding a port")?;
        let stream = forwarder.take_stream(port::API).context("the port was not forwarded")?;
        let request = request.header(header::HOST, "localhost").header(header::CONNECTION, "close");
        let request = request.body(Empty::<Bytes>::new()).context("building the request")?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.context("the forwarded connection")?;
        let answer = async {
            let response = sender.send_request(request).await.context("no answer")?;
            let status = response.status();
            let text = String::from_utf8(response.into_body().collect().await?.to_bytes().into())?;
            ensure!(status.is_success(), "{status}: {text}");
            Ok(text)
        };
        tokio::pin!(answer);
        let text = tokio::select! {
            text = &mut answer => text,
            _ = connection => answer.await,
        };
        forwarder.abort();
        text
    };
    // A leader that is killed in the meantime may leave the request without an answer.
    tokio::time::timeout(REQUEST_TIMEOUT, asking).await.context("no answer in time")?
}

async fn get<T: DeserializeOwned>(client: &Client, route: &str) -> anyhow::Result<T> {
    let text = forwarded(client, http::Request::get(route)).await.with_context(|| format!("GET {route}"))?;
    serde_json::from_str(&text).with_context(|| format!("parsing the answer to GET {route}: {text}"))
}
