//! Whom the reaper believes.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use http::StatusCode;
use jobwarden_common::beat::{Beat, BeatRequest, Phase};
use jobwarden_common::identity::PodUid;
use jobwarden_common::names::{TOKEN_AUDIENCE, endpoint_key, object, route};
use jobwarden_common::observation::{ContainerObservation, PodObservation, Report};
use jobwarden_tests::bed::Bed;
use jobwarden_tests::cluster::Forwarder;
use jobwarden_tests::ground::{ENDLESS, Ground, SOON};
use jobwarden_tests::https::{Server, post};
use jobwarden_tests::install::{HOME, NAMESPACE};
use jobwarden_tests::job::Worker;
use jobwarden_tests::{metrics, wait};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::Outcome;

/// The reaper as a pod would reach it.
struct Reaper {
    forwarder: Forwarder,
    name: String,
    ca: String,
}

impl Reaper {
    async fn find(ground: &Ground) -> anyhow::Result<Self> {
        let endpoints = Api::<ConfigMap>::namespaced(ground.client.clone(), NAMESPACE);
        let data = endpoints.get(object::REAPER_ENDPOINT).await?.data.context("the endpoint is published")?;
        let field = |key: &str| data.get(key).cloned().with_context(|| format!("the endpoint has no {key}"));
        let address: SocketAddr = field(endpoint_key::ADDRESS)?.parse().context("the reaper's address")?;
        let forwarder = ground.cluster.forward(address).await?;
        Ok(Self { forwarder, name: field(endpoint_key::SERVER_NAME)?, ca: field(endpoint_key::CA)? })
    }

    async fn post(&self, path: &str, token: Option<&str>, body: &impl serde::Serialize) -> anyhow::Result<StatusCode> {
        let server = Server { port: self.forwarder.port(), name: &self.name, ca: &self.ca };
        let (status, _) = post(&server, path, token, serde_json::to_vec(body)?).await?;
        Ok(status)
    }

    async fn beat(&self, token: Option<&str>) -> anyhow::Result<StatusCode> {
        let beat = BeatRequest { beats: vec![Beat { seq: 0, phase: Phase::Running }] };
        self.post(route::BEATS, token, &beat).await
    }
}

pub(crate) async fn a_beat_is_believed_only_with_the_token_of_a_known_pod(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("tokens").await?;
    let reaper = Reaper::find(ground).await?;
    let living = run(ground, namespace.name(), "living").await?;
    let gone = run(ground, namespace.name(), "gone").await?;
    let token_of_living = pod_token(ground, &living, TOKEN_AUDIENCE).await?;
    let token_of_gone = pod_token(ground, &gone, TOKEN_AUDIENCE).await?;
    let pods = Api::<Pod>::namespaced(ground.client.clone(), namespace.name());
    pods.delete(&gone.name_any(), &DeleteParams::default().grace_period(0)).await?;
    wait::until_gone::<Pod>(&ground.client, namespace.name(), &gone.name_any(), SOON).await?;

    let refused_before = refused(ground, "beats").await?;
    ensure!(reaper.beat(Some(&token_of_living)).await? == StatusCode::OK, "an honest beat is refused");
    let key = std::fs::read_to_string(ground.cluster.service_account_key())?;
    let strangers_key = KeyPair::generate()?.serialize_pem();
    let lies = [
        ("no token", None, StatusCode::UNAUTHORIZED),
        ("no token at all but words", Some("let me in".to_owned()), StatusCode::UNAUTHORIZED),
        ("of a pod that is gone", Some(token_of_gone), StatusCode::FORBIDDEN),
        ("for another audience", Some(pod_token(ground, &living, "somebody-else").await?), StatusCode::UNAUTHORIZED),
        ("expired an hour ago", Some(resigned(&token_of_living, &key, -3600)?), StatusCode::UNAUTHORIZED),
        ("signed by a stranger", Some(resigned(&token_of_living, &strangers_key, 3600)?), StatusCode::UNAUTHORIZED),
    ];
    let told = lies.len();
    for (lie, token, expected) in lies {
        let status = reaper.beat(token.as_deref()).await?;
        ensure!(status == expected, "a beat with a token {lie} is answered {status}");
    }
    // The forgery differs from the real thing in its key alone.
    let honest = resigned(&token_of_living, &key, 3600)?;
    ensure!(reaper.beat(Some(&honest)).await? == StatusCode::OK, "the tests cannot forge tokens any more");
    let counted = refused(ground, "beats").await? - refused_before;
    ensure!(counted >= told as f64, "{told} beats were refused and {counted} counted");
    Ok(())
}

pub(crate) async fn an_agent_that_reports_a_pod_of_another_node_is_refused(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("agents").await?;
    let reaper = Reaper::find(ground).await?;
    let here = run(ground, namespace.name(), "here").await?;
    let agents = Api::<Pod>::namespaced(ground.client.clone(), object::AGENT);
    let on_node = |pod: &Pod, node: &str| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node);
    let agents = agents.list(&ListParams::default()).await?.items;
    let agent_of = |here: bool| agents.iter().find(|pod| on_node(pod, HOME) == here).context("every node has an agent");
    let report = Report {
        pods: vec![PodObservation {
            pod_uid: PodUid::from(here.uid().context("a pod has a UID")?),
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
    let before = refused(ground, "observations").await?;
    let stranger = pod_token(ground, agent_of(false)?, TOKEN_AUDIENCE).await?;
    let status = reaper.post(route::OBSERVATIONS, Some(&stranger), &report).await?;
    ensure!(status == StatusCode::FORBIDDEN, "the agent of another node is answered {status}");
    let worker = pod_token(ground, &here, TOKEN_AUDIENCE).await?;
    let status = reaper.post(route::OBSERVATIONS, Some(&worker), &report).await?;
    ensure!(status == StatusCode::FORBIDDEN, "a worker that plays the agent is answered {status}");
    ensure!(refused(ground, "observations").await? - before >= 2.0, "the refusals were not counted");
    let own = pod_token(ground, agent_of(true)?, TOKEN_AUDIENCE).await?;
    let status = reaper.post(route::OBSERVATIONS, Some(&own), &Report::default()).await?;
    ensure!(status == StatusCode::OK, "the agent of the pod's own node is answered {status}");
    Ok(())
}

pub(crate) async fn a_beat_is_accepted_while_the_api_server_is_down(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("api-down").await?;
    let reaper = Reaper::find(ground).await?;
    let pod = run(ground, namespace.name(), "heard").await?;
    let token = pod_token(ground, &pod, TOKEN_AUDIENCE).await?;
    ground.cluster.stop_api_server().await?;
    let status = reaper.beat(Some(&token)).await;
    ground.cluster.start_api_server().await?;
    let status = status?;
    ensure!(status == StatusCode::OK, "the beat was answered {status}");
    Ok(())
}

/// Runs a worker on the home node and returns its pod.
async fn run(ground: &Ground, namespace: &str, name: &str) -> anyhow::Result<Pod> {
    let worker = Worker::new(name, 4, ENDLESS).on_node(HOME);
    ground.submit(namespace, &worker).await?;
    wait::until_running(&ground.client, namespace, name, &[], SOON).await
}

/// A token bound to the pod, as the kubelet asks for it.
async fn pod_token(ground: &Ground, pod: &Pod, audience: &str) -> anyhow::Result<String> {
    let namespace = pod.namespace().context("a pod has a namespace")?;
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    let account = account.context("a pod has a service account")?;
    let request: TokenRequest = serde_json::from_value(json!({"spec": {
        "audiences": [audience],
        "expirationSeconds": 3600,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name_any(), "uid": pod.uid()}
    }}))?;
    let accounts = Api::<ServiceAccount>::namespaced(ground.client.clone(), &namespace);
    let made = accounts.create_token_request(&account, &PostParams::default(), &request).await?;
    Ok(made.status.context("a token was made")?.token)
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

/// How many beats or observations the leader has refused.
async fn refused(ground: &Ground, what: &str) -> anyhow::Result<f64> {
    let leader = metrics::leader(&ground.client).await?;
    let text = metrics::read(&ground.client, &leader.name_any()).await?;
    Ok(metrics::sum(&text, &format!("jobwarden_{what}_refused_total"), ""))
}
