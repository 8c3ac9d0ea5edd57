//! The request against an API server that has one Lease and proxies to one pod.

use std::collections::HashMap;

use http::Response;
use rstest::rstest;
use serde_json::{Value, json};

use jobwarden_common::api::Explanation;

use super::*;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/jobwarden/leases/jobwarden-reaper";
const PROXY: &str = "/api/v1/namespaces/jobwarden/pods/http:jobwarden-reaper-6c_x:8082/proxy/v1/jobs/ort/analyzer-7";
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
async fn the_leader_is_asked_through_the_pod_proxy() {
    let explanation = ask(&[(LEASE, 200, &held()), (PROXY, 200, EXPLANATION)]).await.expect("an explanation");
    assert_eq!(explanation.job.name, "analyzer-7");
}

#[tokio::test]
async fn an_address_is_asked_directly() {
    let source = Source::Url { client: client(&[(DIRECT, 200, EXPLANATION)]), url: "http://127.0.0.1:8082".to_owned() };
    assert_eq!(source.get::<Explanation>(DIRECT).await.expect("an explanation").job.name, "analyzer-7");
}

#[tokio::test]
async fn a_problem_of_the_reaper_is_reported_with_its_hint() {
    let problem = r#"{"error": "the Job ort/analyzer-7 is not watched", "hint": "check that it is enrolled"}"#;
    let error = ask(&[(LEASE, 200, &held()), (PROXY, 404, problem)]).await.expect_err("not watched");
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
async fn a_missing_permission_is_reported_in_the_words_of_the_api_server() {
    let said = status_of("Forbidden", "pods \"r\" is forbidden: User \"me\" cannot get resource \"pods/proxy\"", 403);
    let error = ask(&[(LEASE, 200, &held()), (PROXY, 403, &said)]).await.expect_err("forbidden");
    assert!(error.to_string().contains("cannot get resource \"pods/proxy\""), "{error}");
}

#[rstest]
#[case::as_a_status(status_of("ServiceUnavailable", "error trying to reach service: dial tcp: i/o timeout", 503))]
#[case::as_text("error trying to reach service: dial tcp: i/o timeout".to_owned())]
#[tokio::test]
async fn an_unreachable_leader_is_reported_with_possible_causes(#[case] said: String) {
    let error = ask(&[(LEASE, 200, &held()), (PROXY, 503, &said)]).await.expect_err("unreachable");
    assert!(matches!(&error, LeaderError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("i/o timeout") && error.to_string().contains("NetworkPolicy"), "{error}");
}

#[tokio::test]
async fn a_holder_that_does_not_lead_yet_is_reported() {
    let problem = r#"{"error": "this replica is not the leader", "hint": "try again in a moment"}"#;
    let error = ask(&[(LEASE, 200, &held()), (PROXY, 503, problem)]).await.expect_err("not yet");
    assert!(matches!(error, LeaderError::Problem(_)), "{error}");
}

#[tokio::test]
async fn a_response_of_another_version_is_reported() {
    let error = ask(&[(LEASE, 200, &held()), (PROXY, 200, "{}")]).await.expect_err("fields are missing");
    assert!(matches!(error, LeaderError::Response { .. }), "{error}");
}
