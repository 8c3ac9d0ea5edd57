//! The request against an API server that has one Lease. What a forwarded connection answers is tested in `forward`.

use std::collections::HashMap;

use http::Response;
use rstest::rstest;
use serde_json::{Value, json};

use jobwarden_common::api::Explanation;

use super::*;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/jobwarden/leases/jobwarden-reaper";
const FORWARD: &str = "/api/v1/namespaces/jobwarden/pods/jobwarden-reaper-6c_x/portforward";
const DIRECT: &str = "/v1/jobs/ort/analyzer-7";
const EXPLANATION: &str = include_str!("../../tests/fixtures/explanation.json");

/// An API server with these responses, and 404 otherwise.
fn client(responses: &[(&str, u16, &str)]) -> Client {
    let responses: HashMap<_, _> =
        responses.iter().map(|(path, status, body)| ((*path).to_owned(), (*status, (*body).to_owned()))).collect();
    let service = tower::service_fn(move |request: Request<Body>| {
        let found = responses.get(request.uri().path()).cloned();
        let (status, body) = found.unwrap_or_else(|| (404, status_of("NotFound", "not found", 404)));
        let response = Response::builder().status(status).body(Body::from(body.into_bytes()));
        async move { response }
    });
    Client::new(service, "default")
}

fn status_of(reason: &str, message: &str, code: u16) -> String {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "message": message, "code": code})
        .to_string()
}

fn lease(holder: &Value) -> String {
    let (api, kind) = ("coordination.k8s.io/v1", "Lease");
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": "jobwarden-reaper"}, "spec": {"holderIdentity": holder}})
        .to_string()
}

async fn ask(responses: &[(&str, u16, &str)]) -> Result<Explanation, LeaderError> {
    let source = Source::Leader { client: client(responses), namespace: "jobwarden".to_owned(), port: 8082 };
    source.get(DIRECT).await
}

/// The name of the pod contains the separator of the suffix.
fn held() -> String {
    lease(&json!("jobwarden-reaper-6c_x_0a1b2c3d"))
}

#[tokio::test]
async fn an_address_is_asked_directly() {
    let source = Source::Url { client: client(&[(DIRECT, 200, EXPLANATION)]), url: "http://127.0.0.1:8082".to_owned() };
    assert_eq!(source.get::<Explanation>(DIRECT).await.expect("an explanation").job.name, "analyzer-7");
}

/// The answer of the API at an address.
async fn ask_directly(status: u16, body: &str) -> Result<Explanation, LeaderError> {
    let source = Source::Url { client: client(&[(DIRECT, status, body)]), url: "http://127.0.0.1:8082".to_owned() };
    source.get(DIRECT).await
}

#[tokio::test]
async fn a_problem_of_the_reaper_is_reported_with_its_hint() {
    let problem = r#"{"error": "the Job ort/analyzer-7 is not watched", "hint": "check that it is enrolled"}"#;
    let error = ask_directly(404, problem).await.expect_err("not watched");
    assert_eq!(error.to_string(), "the Job ort/analyzer-7 is not watched\ncheck that it is enrolled");
}

#[rstest]
#[case::absent(json!(null))]
#[case::released(json!(""))]
#[tokio::test]
async fn a_lease_without_holder_has_no_leader(#[case] holder: Value) {
    let error = ask(&[(LEASE, 200, &lease(&holder))]).await.expect_err("no leader");
    assert!(matches!(error, LeaderError::NoLeader { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_lease_points_to_the_system_namespace() {
    let error = ask(&[]).await.expect_err("no Lease");
    assert!(matches!(error, LeaderError::Lease { .. }), "{error}");
    assert!(error.to_string().contains("--system-namespace"), "{error}");
}

#[tokio::test]
async fn a_missing_permission_names_the_permission() {
    let said =
        status_of("Forbidden", "pods \"r\" is forbidden: User \"me\" cannot create resource \"pods/portforward\"", 403);
    let error = ask(&[(LEASE, 200, &held()), (FORWARD, 403, &said)]).await.expect_err("forbidden");
    assert!(matches!(&error, LeaderError::Forbidden { .. }), "{error}");
    assert!(error.to_string().contains("cannot create resource \"pods/portforward\""), "{error}");
}

#[rstest]
#[case::no_such_pod(404)]
#[case::node_away(500)]
#[case::plain_answer(200)]
#[tokio::test]
async fn an_unreachable_leader_is_reported_with_possible_causes(#[case] status: u16) {
    let error = ask(&[(LEASE, 200, &held()), (FORWARD, status, "")]).await.expect_err("unreachable");
    assert!(matches!(&error, LeaderError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("--api-port"), "{error}");
}

#[tokio::test]
async fn a_holder_that_does_not_lead_yet_is_reported() {
    let problem = r#"{"error": "this replica is not the leader", "hint": "try again in a moment"}"#;
    let error = ask_directly(503, problem).await.expect_err("not yet");
    assert!(matches!(error, LeaderError::Problem(_)), "{error}");
}

#[tokio::test]
async fn a_response_of_another_version_is_reported() {
    let error = ask_directly(200, "{}").await.expect_err("fields are missing");
    assert!(matches!(error, LeaderError::Response { .. }), "{error}");
}

#[tokio::test]
async fn an_address_takes_a_token_and_a_ca_from_files() {
    jobwarden_serve::tls::install_crypto_provider();
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), "t").expect("written");
    let args = |url: &str, ca: Option<&str>| LeaderArgs {
        url: Some(url.to_owned()),
        token_file: Some(token.path().into()),
        ca_file: ca.map(Into::into),
        api_port: 1,
    };
    let no_cluster = async || panic!("no cluster is needed");
    let source = args("https://127.0.0.1:1/", None).source("jobwarden", no_cluster).await;
    assert!(matches!(source, Ok(Source::Url { .. })));
    let error = args("https://127.0.0.1:1/", Some("/does/not/exist")).source("jobwarden", no_cluster).await;
    assert!(matches!(error, Err(LeaderError::Files { .. })));
    let error = args("not a url", None).source("jobwarden", no_cluster).await;
    assert!(matches!(error, Err(LeaderError::InvalidUrl { .. })));
}
