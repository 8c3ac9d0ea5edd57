//! Who reads the reaper's API: an operator by port-forward everything, a tenant by his token what is his, any other pod nothing.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use http::StatusCode;
use jobwarden_common::names::{API_AUDIENCE, TOKEN_AUDIENCE, api_route, endpoint_key, object, port};
use jobwarden_testbed::Forwarder;
use jobwarden_tests::environment::{ENDLESS, Environment, SOON};
use jobwarden_tests::https_client::{Server, get, post};
use jobwarden_tests::install::{HOME, NAMESPACE};
use jobwarden_tests::job::Worker;
use jobwarden_tests::shared_cluster::SharedCluster;
use jobwarden_tests::{metrics, reaper_api};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

/// The API over TLS, reached as a pod reaches it.
pub(crate) struct ReaperApi {
    forwarder: Forwarder,
    name: String,
    ca: String,
}

impl ReaperApi {
    pub(crate) async fn find(environment: &Environment) -> anyhow::Result<Self> {
        let endpoints = Api::<ConfigMap>::namespaced(environment.client.clone(), NAMESPACE);
        let data =
            endpoints.get(object::REAPER_ENDPOINT).await?.data.context("the endpoint's ConfigMap has no data")?;
        let field = |key: &str| data.get(key).cloned().with_context(|| format!("the ConfigMap has no {key}"));
        let services = Api::<Service>::namespaced(environment.client.clone(), NAMESPACE);
        let service = services.get(object::REAPER_SERVICE).await?.spec.context("the Service has no spec")?;
        let ip = service.cluster_ip.context("the Service has no address")?.parse().context("its address")?;
        let forwarder = environment.cluster.forward(SocketAddr::new(ip, port::API_TLS)).await?;
        Ok(Self { forwarder, name: field(endpoint_key::SERVER_NAME)?, ca: field(endpoint_key::CA)? })
    }

    pub(crate) fn server(&self) -> Server<'_> {
        Server { port: self.forwarder.port(), name: &self.name, ca: &self.ca }
    }

    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> anyhow::Result<(StatusCode, Value)> {
        let (status, body) = get(&self.server(), path, token).await?;
        Ok((status, serde_json::from_slice(&body).with_context(|| format!("GET {path}: {body:?}"))?))
    }
}

pub(crate) async fn a_tenant_reads_what_is_his_and_a_stranger_nothing(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let (own, victim) =
        (environment.enrolled_namespace("reader").await?, environment.enrolled_namespace("victim").await?);
    for namespace in [own.name(), victim.name()] {
        environment.submit(namespace, &Worker::new("work", 4, ENDLESS).on_node(HOME)).await?;
        // By port-forward to the loopback, as an operator.
        reaper_api::until_reported_alive(&environment.client, namespace, "work", SOON).await?;
    }
    let reader = tenant(environment, own.name()).await?;
    let api = ReaperApi::find(environment).await?;
    let job = |namespace: &str, name: &str| format!("{}/{namespace}/{name}", api_route::JOBS);

    let for_the_api = token(environment, own.name(), API_AUDIENCE).await?;
    let (status, seen) = api.get(&job(own.name(), "work"), Some(&for_the_api)).await?;
    ensure!(status == StatusCode::OK && seen["job"]["name"] == "work", "{status}: {seen:#}");
    ensure!(seen["messagesWithheld"] == true, "the role of {reader} does not include logs: {seen:#}");
    for (path, expected) in [
        (job(victim.name(), "work"), StatusCode::FORBIDDEN),
        (job(victim.name(), "absent"), StatusCode::FORBIDDEN),
        (format!("{}?namespace={}", api_route::JOBS, victim.name()), StatusCode::FORBIDDEN),
        (api_route::GUARDS.to_owned(), StatusCode::FORBIDDEN),
        (api_route::BREAKER.to_owned(), StatusCode::FORBIDDEN),
    ] {
        let (status, body) = api.get(&path, Some(&for_the_api)).await?;
        ensure!(status == expected && !body.to_string().contains("work"), "GET {path}: {status}: {body:#}");
    }
    let (mut after, mut namespaces) = (String::new(), Vec::new());
    loop {
        let (status, page) = api.get(&format!("{}?after={after}", api_route::JOBS), Some(&for_the_api)).await?;
        ensure!(status == StatusCode::OK, "{status}: {page:#}");
        let jobs = page["jobs"].as_array().context("the page has no list")?;
        namespaces.extend(jobs.iter().map(|job| job["namespace"].as_str().unwrap_or_default().to_owned()));
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    ensure!(namespaces == [own.name()], "the list shows {namespaces:?}");

    let for_the_api_server = token(environment, own.name(), "https://kubernetes.default.svc.cluster.local").await?;
    let of_a_sidecar = token(environment, own.name(), TOKEN_AUDIENCE).await?;
    let tampered = format!("{for_the_api}x");
    for token in [None, Some(for_the_api_server), Some(of_a_sidecar), Some(tampered)] {
        let (status, body) = api.get(&job(own.name(), "work"), token.as_deref()).await?;
        ensure!(status == StatusCode::UNAUTHORIZED, "{status}: {body:#}");
    }
    let (status, _) = post(&api.server(), api_route::BREAKER_RELEASE, Some(&for_the_api), Vec::new()).await?;
    ensure!(status == StatusCode::UNAUTHORIZED, "the release of the breaker was answered with {status}");

    // Without authentication nothing listens but on the loopback.
    let leader = metrics::leader(&environment.client).await?;
    let ip = leader.status.and_then(|status| status.pod_ip).context("the leader has no address")?.parse()?;
    let forwarder = environment.cluster.forward(SocketAddr::new(ip, port::API)).await?;
    let plain = Server { port: forwarder.port(), name: &api.name, ca: &api.ca };
    ensure!(get(&plain, api_route::JOBS, None).await.is_err(), "the port without authentication is reachable");
    Ok(())
}

/// A service account `reader` that may list and get Jobs in its namespace.
async fn tenant(environment: &Environment, namespace: &str) -> anyhow::Result<String> {
    let create = PostParams::default();
    let account: ServiceAccount = serde_json::from_value(json!({ "metadata": { "name": "reader" } }))?;
    Api::namespaced(environment.client.clone(), namespace).create(&create, &account).await?;
    let role: Role = serde_json::from_value(json!({
        "metadata": { "name": "reader" },
        "rules": [{ "apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list"] }],
    }))?;
    Api::namespaced(environment.client.clone(), namespace).create(&create, &role).await?;
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": { "name": "reader" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader" },
        "subjects": [{ "kind": "ServiceAccount", "name": "reader", "namespace": namespace }],
    }))?;
    Api::namespaced(environment.client.clone(), namespace).create(&create, &binding).await?;
    Ok(format!("{namespace}/reader"))
}

async fn token(environment: &Environment, namespace: &str, audience: &str) -> anyhow::Result<String> {
    let request: TokenRequest =
        serde_json::from_value(json!({ "spec": { "audiences": [audience], "expirationSeconds": 3600 } }))?;
    let accounts = Api::<ServiceAccount>::namespaced(environment.client.clone(), namespace);
    let created = accounts.create_token_request("reader", &PostParams::default(), &request).await?;
    Ok(created.status.context("the API server returned no token")?.token)
}
