//! The request to the leading reaper. The holder of the Lease is the leader.
//!
//! Its API listens on the loopback of its pod, where a port-forward through the API server leads. `--url` asks another address, such as
//! the API over TLS.

mod forward;

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use jobwarden_common::{
    api::Problem,
    names::{OPERATOR_TOKEN_HEADER, object, port},
};
use jobwarden_serve::logs::with_causes;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, Config,
    client::Body,
    config::{
        AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, KubeconfigError, NamedAuthInfo, NamedCluster,
        NamedContext,
    },
};
use serde::de::DeserializeOwned;

use self::forward::ForwardError;
use crate::cluster::ClusterError;

/// How the API of the leading reaper is reached.
#[derive(Args, Clone, Debug)]
pub(crate) struct LeaderArgs {
    /// Ask the reaper's API at this address, such as that of its Service over TLS, instead of by a port-forward
    #[arg(long, env = "JOBWARDEN_API_URL", value_name = "URL")]
    pub(crate) url: Option<String>,

    /// File with the token to present at --url, for the audience jobwarden-api
    #[arg(long, env = "JOBWARDEN_API_TOKEN_FILE", requires = "url", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// File with the CA certificates of --url, PEM; default: the system's
    #[arg(long, env = "JOBWARDEN_API_CA_FILE", requires = "url", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Port of the reaper's API on the loopback of its pod
    #[arg(long, env = "JOBWARDEN_API_PORT", default_value_t = port::API, value_name = "PORT")]
    pub(crate) api_port: u16,
}

/// Where the reaper's API is reached.
pub(crate) enum Source {
    /// The leader, by a port-forward through the API server.
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
        "forbidden: {message}\ngrant 'get' and 'create' on pods/portforward in the namespace {namespace}: the Role \
         jobwarden-operator has it; or ask with a token by --url"
    )]
    Forbidden { namespace: String, message: String },
    /// No port can be forwarded to the pod.
    #[error(
        "cannot forward a port to the leader {pod}: {message}\ncheck that the pod runs and its node is ready, and that its API listens on the \
         port of --api-port (--api-addr of the reaper)"
    )]
    Unreachable { pod: String, message: String },
    /// The path or token is not valid in a request.
    #[error("cannot build the request")]
    Request(#[source] http::Error),
    /// The request to `--url` failed.
    #[error("the request to {url} failed")]
    Url { url: String, source: kube::Error },
    /// `--url` is no URL.
    #[error("invalid address {url} in --url")]
    InvalidUrl { url: String, source: http::uri::InvalidUri },
    /// The files of `--token-file` and `--ca-file`.
    #[error("cannot use the files of --token-file and --ca-file for {url}")]
    Files { url: String, source: KubeconfigError },
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

impl LeaderArgs {
    /// Where these flags say that the API is; `client` connects to the cluster, if that is necessary.
    pub(crate) async fn source(
        self,
        namespace: &str,
        client: impl AsyncFnOnce() -> Result<Client, ClusterError>,
    ) -> Result<Source, LeaderError> {
        let Self { url, token_file, ca_file, api_port: port } = self;
        match url {
            Some(url) => Source::by_url(url, token_file, ca_file).await,
            None => Ok(Source::Leader { client: client().await?, namespace: namespace.to_owned(), port }),
        }
    }
}

impl Source {
    /// The API at the address of `--url`.
    async fn by_url(url: String, token: Option<PathBuf>, ca: Option<PathBuf>) -> Result<Self, LeaderError> {
        let _: http::Uri = url.parse().map_err(|source| LeaderError::InvalidUrl { url: url.clone(), source })?;
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let name = "url".to_owned();
        let cluster = Cluster {
            server: Some(url.trim_end_matches('/').to_owned()),
            certificate_authority: ca.map(path),
            ..Cluster::default()
        };
        let user = AuthInfo { token_file: token.map(path), ..AuthInfo::default() };
        let context = Context { cluster: name.clone(), user: Some(name.clone()), ..Context::default() };
        let kubeconfig = Kubeconfig {
            clusters: vec![NamedCluster { name: name.clone(), cluster: Some(cluster), other: BTreeMap::new() }],
            auth_infos: vec![NamedAuthInfo { name: name.clone(), auth_info: Some(user), other: BTreeMap::new() }],
            contexts: vec![NamedContext { name: name.clone(), context: Some(context), other: BTreeMap::new() }],
            current_context: Some(name),
            ..Kubeconfig::default()
        };
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let config = config.map_err(|source| LeaderError::Files { url: url.clone(), source })?;
        let client = Client::try_from(config).map_err(ClusterError::Connect)?;
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
                send(client, request(method, path, token)?).await.map_err(failed)?
            }
        };
        read(status, &body)
    }
}

async fn send(client: &Client, request: Request<Body>) -> Result<(StatusCode, Vec<u8>), kube::Error> {
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
    forward::to_pod(client, namespace, &pod, port, request(method, path, token)?).await.map_err(|error| match error {
        ForwardError::Forbidden(message) => LeaderError::Forbidden { namespace: namespace.to_owned(), message },
        error => LeaderError::Unreachable { pod, message: with_causes(&error) },
    })
}

fn request(method: &Method, path: &str, token: Option<&str>) -> Result<Request<Body>, LeaderError> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header(OPERATOR_TOKEN_HEADER, token);
    }
    request.body(Body::empty()).map_err(LeaderError::Request)
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
