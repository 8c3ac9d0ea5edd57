//! Whose beats and reports the reaper accepts.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use http::StatusCode;
use jobwarden_common::beat::{Beat, BeatRequest, Phase};
use jobwarden_common::identity::PodUid;
use jobwarden_common::names::{TOKEN_AUDIENCE, endpoint_key, object, route};
use jobwarden_common::observation::{ContainerObservation, PodObservation, Report};
use jobwarden_testbed::Forwarder;
use jobwarden_tests::environment::{ENDLESS, Environment, SOON};
use jobwarden_tests::https_client::{Server, post};
use jobwarden_tests::install::{HOME, NAMESPACE};
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{metrics, wait};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use rcgen::KeyPair;
use serde_json::{Value, json};

/// The reaper, reached as a pod reaches it.
pub(crate) struct Reaper {
    forwarder: Forwarder,
    name: String,
    ca: String,
}

impl Reaper {
    pub(crate) async fn find(environment: &Environment) -> anyhow::Result<Self> {
        let endpoints = Api::<ConfigMap>::namespaced(environment.client.clone(), NAMESPACE);
        let data =
            endpoints.get(object::REAPER_ENDPOINT).await?.data.context("the endpoint's ConfigMap has no data")?;
        let field =
            |key: &str| data.get(key).cloned().with_context(|| format!("the endpoint's ConfigMap has no {key}"));
        let address: SocketAddr = field(endpoint_key::ADDRESS)?.parse().context("parsing the reaper's address")?;
        let forwarder = environment.cluster.forward(address).await?;
        Ok(Self { forwarder, name: field(endpoint_key::SERVER_NAME)?, ca: field(endpoint_key::CA)? })
    }

    /// Where it is, and how it is verified.
    pub(crate) fn server(&self) -> Server<'_> {
        Server { port: self.forwarder.port(), name: &self.name, ca: &self.ca }
    }

    async fn post(&self, path: &str, token: Option<&str>, body: &impl serde::Serialize) -> anyhow::Result<StatusCode> {
        let (status, _) = post(&self.server(), path, token, serde_json::to_vec(body)?).await?;
        Ok(status)
    }

    pub(crate) async fn beat(&self, token: Option<&str>) -> anyhow::Result<StatusCode> {
        let beat = BeatRequest { beats: vec![Beat { seq: 0, phase: Phase::Running }] };
        self.post(route::BEATS, token, &beat).await
    }
}

pub(crate) async fn a_beat_is_accepted_only_with_a_valid_token_of_an_existing_pod(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("tokens").await?;
    let reaper = Reaper::find(environment).await?;
    let living = run(environment, namespace.name(), "living").await?;
    let gone = run(environment, namespace.name(), "gone").await?;
    let token_of_living = pod_token(environment, &living, TOKEN_AUDIENCE).await?;
    let token_of_gone = pod_token(environment, &gone, TOKEN_AUDIENCE).await?;
    let pods = Api::<Pod>::namespaced(environment.client.clone(), namespace.name());
    pods.delete(&gone.name_any(), &DeleteParams::default().grace_period(0)).await?;
    wait::until_gone::<Pod>(&environment.client, namespace.name(), &gone.name_any(), SOON).await?;

    let rejected_before = rejected(environment, "beats").await?;
    ensure!(reaper.beat(Some(&token_of_living)).await? == StatusCode::OK, "a beat with a valid token was rejected");
    let key = std::fs::read_to_string(environment.cluster.service_account_key())?;
    let other_key = KeyPair::generate()?.serialize_pem();
    let invalid = [
        ("without a token", None, StatusCode::UNAUTHORIZED),
        ("with text instead of a token", Some("let me in".to_owned()), StatusCode::UNAUTHORIZED),
        ("with the token of a deleted pod", Some(token_of_gone), StatusCode::FORBIDDEN),
        (
            "with a token for another audience",
            Some(pod_token(environment, &living, "other-audience").await?),
            StatusCode::UNAUTHORIZED,
        ),
        (
            "with a token that expired an hour ago",
            Some(resigned(&token_of_living, &key, -3600)?),
            StatusCode::UNAUTHORIZED,
        ),
        (
            "with a token signed by another key",
            Some(resigned(&token_of_living, &other_key, 3600)?),
            StatusCode::UNAUTHORIZED,
        ),
    ];
    let sent = invalid.len();
    for (beat, token, expected) in invalid {
        let status = reaper.beat(token.as_deref()).await?;
        ensure!(status == expected, "a beat {beat} was answered with {status}");
    }
    // A token with the right key is accepted, so the forged token above was rejected for its key alone.
    let valid = resigned(&token_of_living, &key, 3600)?;
    ensure!(
        reaper.beat(Some(&valid)).await? == StatusCode::OK,
        "a token signed with the API server's key was rejected"
    );
    let counted = rejected(environment, "beats").await? - rejected_before;
    ensure!(counted >= sent as f64, "{sent} beats were rejected and {counted} counted");
    Ok(())
}

pub(crate) async fn an_agent_that_reports_a_pod_of_another_node_is_rejected(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("agents").await?;
    let reaper = Reaper::find(environment).await?;
    let here = run(environment, namespace.name(), "here").await?;
    let agents = Api::<Pod>::namespaced(environment.client.clone(), object::AGENT);
    let on_node = |pod: &Pod, node: &str| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node);
    let agents = agents.list(&ListParams::default()).await?.items;
    let agent_of = |here: bool| agents.iter().find(|pod| on_node(pod, HOME) == here).context("a node has no agent");
    let report = Report {
        pods: vec![PodObservation {
            pod_uid: PodUid::from(here.uid().context("the pod has no UID")?),
            containers: vec![ContainerObservation {
                container_id: "0".repeat(64),
                processes: 1,
                rss_bytes: 0,
                rss_sum_peak_bytes: 0,
                largest_hwm_bytes: 0,
                cpu_ms: 0,
                cgroup_peak_bytes: None,
            }],
        }],
        ..Report::default()
    };
    let before = rejected(environment, "observations").await?;
    let other = pod_token(environment, agent_of(false)?, TOKEN_AUDIENCE).await?;
    let status = reaper.post(route::OBSERVATIONS, Some(&other), &report).await?;
    ensure!(status == StatusCode::FORBIDDEN, "the agent of another node was answered with {status}");
    let worker = pod_token(environment, &here, TOKEN_AUDIENCE).await?;
    let status = reaper.post(route::OBSERVATIONS, Some(&worker), &report).await?;
    ensure!(status == StatusCode::FORBIDDEN, "a worker's token was answered with {status}");
    ensure!(rejected(environment, "observations").await? - before >= 2.0, "the rejections were not counted");
    let own = pod_token(environment, agent_of(true)?, TOKEN_AUDIENCE).await?;
    let status = reaper.post(route::OBSERVATIONS, Some(&own), &Report::default()).await?;
    ensure!(status == StatusCode::OK, "the agent of the pod's node was answered with {status}");
    Ok(())
}

pub(crate) async fn a_beat_is_accepted_while_the_api_server_is_down(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.enrolled_namespace("api-down").await?;
    let reaper = Reaper::find(environment).await?;
    let pod = run(environment, namespace.name(), "beating").await?;
    let token = pod_token(environment, &pod, TOKEN_AUDIENCE).await?;
    environment.cluster.stop_api_server().await?;
    let status = reaper.beat(Some(&token)).await;
    environment.cluster.start_api_server().await?;
    let status = status?;
    ensure!(status == StatusCode::OK, "the beat was answered with {status}");
    Ok(())
}

/// Runs a worker on the home node and returns its pod.
pub(crate) async fn run(environment: &Environment, namespace: &str, name: &str) -> anyhow::Result<Pod> {
    let worker = Worker::new(name, 4, ENDLESS).on_node(HOME);
    environment.submit(namespace, &worker).await?;
    wait::until_running(&environment.client, namespace, name, &[], SOON).await
}

/// A token bound to the pod, as the kubelet requests it.
pub(crate) async fn pod_token(environment: &Environment, pod: &Pod, audience: &str) -> anyhow::Result<String> {
    let namespace = pod.namespace().context("the pod has no namespace")?;
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    let account = account.context("the pod has no service account")?;
    let request: TokenRequest = serde_json::from_value(json!({"spec": {
        "audiences": [audience],
        "expirationSeconds": 3600,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name_any(), "uid": pod.uid()}
    }}))?;
    let accounts = Api::<ServiceAccount>::namespaced(environment.client.clone(), &namespace);
    let created = accounts.create_token_request(&account, &PostParams::default(), &request).await?;
    Ok(created.status.context("the API server returned no token")?.token)
}

/// The same claims with another expiry, in seconds from now, signed with this key.
fn resigned(token: &str, key_pem: &str, expires_in: i64) -> anyhow::Result<String> {
    let header = jsonwebtoken::decode_header(token)?;
    let mut claims: Value = jsonwebtoken::dangerous::insecure_decode::<Value>(token)?.claims;
    let now = k8s_openapi::jiff::Timestamp::now().as_second();
    claims["exp"] = json!(now + expires_in);
    claims["iat"] = json!(now - 7200);
    claims["nbf"] = json!(now - 7200);
    let header = Header { kid: header.kid, ..Header::new(Algorithm::ES256) };
    Ok(jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_pem(key_pem.as_bytes())?)?)
}

/// The number of beats or observations that the leader has rejected.
async fn rejected(environment: &Environment, what: &str) -> anyhow::Result<f64> {
    let leader = metrics::leader(&environment.client).await?;
    let text = metrics::read(&environment.client, &leader.name_any()).await?;
    Ok(metrics::sum(&text, &format!("jobwarden_{what}_refused_total"), ""))
}
