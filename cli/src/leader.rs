//! The request to the leading reaper. The holder of the Lease is the leader.

use clap::Args;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use jobwarden_common::{
    api::Problem,
    names::{OPERATOR_TOKEN_HEADER, object, port},
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, Config, client::Body};
use serde::{Deserialize, de::DeserializeOwned};

use crate::cluster::ClusterError;

/// How the API of the leading reaper is reached.
#[derive(Args, Clone, Debug)]
pub(crate) struct LeaderArgs {
    /// Ask the reaper's API at this address, such as a port-forward, instead of through the API server
    #[arg(long, env = "JOBWARDEN_API_URL", value_name = "URL")]
    pub(crate) url: Option<String>,

    /// Port of the reaper's API in its pod
    #[arg(long, env = "JOBWARDEN_API_PORT", default_value_t = port::API, value_name = "PORT")]
    pub(crate) api_port: u16,
}

/// Where the reaper's API is reached.
pub(crate) enum Source {
    /// The leader, through the API server's pod proxy.
    Leader {
        client: Client,
        /// jobwarden's own namespace.
        namespace: String,
        port: u16,
    },
    /// The reaper's API itself.
    Url { client: Client, url: String },
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaderError {
    /// The Lease cannot be read.
    #[error(
        "cannot get the Lease {namespace}/{name}, whose holder is the leader; check --system-namespace, and your permission to get \
         leases there"
    )]
    Lease { namespace: String, name: &'static str, source: kube::Error },
    /// The Lease has no holder.
    #[error(
        "no reaper is the leader: the Lease {namespace}/{name} has no holder; see 'kubectl -n {namespace} get pods'"
    )]
    NoLeader { namespace: String, name: &'static str },
    /// The caller lacks a permission.
    #[error(
        "forbidden: {0}\ngrant 'get pods/proxy' in jobwarden's namespace ('create pods/proxy' as well to release the breaker), or use \
         'kubectl port-forward' to the leader and --url"
    )]
    Forbidden(String),
    /// The API server cannot reach the pod.
    #[error(
        "the API server cannot reach the leader {pod}: {message}\ncheck that the pod runs, that its API listens on the pod's address \
         (--api-addr), and that no NetworkPolicy blocks the API server"
    )]
    Unreachable { pod: String, message: String },
    /// The request failed.
    #[error("the request to the API server failed")]
    ApiServer(#[source] kube::Error),
    /// The request to `--url` failed.
    #[error("the request to {url} failed")]
    Url { url: String, source: kube::Error },
    /// `--url` is no URL.
    #[error("invalid address {url} in --url")]
    InvalidUrl { url: String, source: http::uri::InvalidUri },
    /// The client.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The reaper reports a problem.
    #[error("{}\n{}", .0.error, .0.hint)]
    Problem(Box<Problem>),
    /// The response is not of the expected type.
    #[error("unexpected response (HTTP {status}); the reaper may be of another version")]
    Response { status: StatusCode, source: serde_json::Error },
}

impl Source {
    /// The API at the address of `--url`.
    pub(crate) fn by_url(url: String) -> Result<Self, LeaderError> {
        let parsed = url.trim_end_matches('/').parse();
        let parsed = parsed.map_err(|source| LeaderError::InvalidUrl { url: url.clone(), source })?;
        let client = Client::try_from(Config::new(parsed)).map_err(ClusterError::Connect)?;
        Ok(Self::Url { client, url })
    }

    /// The response to `GET path`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, LeaderError> {
        self.ask(&Method::GET, path, None).await
    }

    /// The response to `POST path` with an operator's token.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, token: &str) -> Result<T, LeaderError> {
        self.ask(&Method::POST, path, Some(token)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        token: Option<&str>,
    ) -> Result<T, LeaderError> {
        let (status, body) = match self {
            Self::Leader { client, namespace, port } => {
                ask_leader(client, namespace, *port, method, path, token).await?
            }
            Self::Url { client, url } => {
                let failed = |source| LeaderError::Url { url: url.clone(), source };
                send(client, method, path, token).await.map_err(failed)?
            }
        };
        read(status, &body)
    }
}

async fn send(
    client: &Client,
    method: &Method,
    path: &str,
    token: Option<&str>,
) -> Result<(StatusCode, Vec<u8>), kube::Error> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header(OPERATOR_TOKEN_HEADER, token);
    }
    let request = request.body(Body::empty()).map_err(kube::Error::HttpError)?;
    let response = client.send(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes().to_vec()))
}

async fn ask_leader(
    client: &Client,
    namespace: &str,
    port: u16,
    method: &Method,
    path: &str,
    token: Option<&str>,
) -> Result<(StatusCode, Vec<u8>), LeaderError> {
    let pod = leader(client, namespace).await?;
    let path = format!("/api/v1/namespaces/{namespace}/pods/http:{pod}:{port}/proxy{path}");
    let (status, body) = send(client, method, &path, token).await.map_err(LeaderError::ApiServer)?;
    if let Some(message) = message_of_status(&body) {
        return Err(match status {
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => LeaderError::Forbidden(message),
            _ => LeaderError::Unreachable { pod, message },
        });
    }
    // A proxy that cannot connect answers in plain text.
    if matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
        && serde_json::from_slice::<Problem>(&body).is_err()
    {
        return Err(LeaderError::Unreachable { pod, message: String::from_utf8_lossy(&body).trim().to_owned() });
    }
    Ok((status, body))
}

/// The pod of the leader: the holder of the Lease without the suffix that identifies the process.
async fn leader(client: &Client, namespace: &str) -> Result<String, LeaderError> {
    let (namespace, name) = (namespace.to_owned(), object::REAPER_LEASE);
    let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
    let lease = match leases.get(name).await {
        Ok(lease) => lease,
        Err(source) => return Err(LeaderError::Lease { namespace, name, source }),
    };
    let holder = lease.spec.and_then(|spec| spec.holder_identity).filter(|holder| !holder.is_empty());
    let holder = holder.ok_or(LeaderError::NoLeader { namespace, name })?;
    Ok(holder.rsplit_once('_').map_or(holder.clone(), |(pod, _)| pod.to_owned()))
}

/// The message of a `Status` object, which is how the API server itself reports an error.
fn message_of_status(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Status {
        kind: String,
        #[serde(default)]
        message: String,
    }
    let status: Status = serde_json::from_slice(body).ok()?;
    (status.kind == "Status").then_some(status.message)
}

fn read<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, LeaderError> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(|source| LeaderError::Response { status, source });
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Err(LeaderError::Problem(Box::new(problem))),
        Err(source) => Err(LeaderError::Response { status, source }),
    }
}

#[cfg(test)]
mod tests;
