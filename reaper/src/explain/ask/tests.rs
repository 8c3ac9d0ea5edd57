//! The way to the leader, against an API server that knows one Lease and proxies to one pod.

use std::collections::HashMap;

use clap::Parser as _;
use http::Response;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/jobwarden/leases/jobwarden-reaper";
const PROXY: &str = "/api/v1/namespaces/jobwarden/pods/http:jobwarden-reaper-6c_x:8082/proxy/v1/jobs/ort/analyzer-7";
const EXPLANATION: &str = include_str!("../../../tests/fixtures/explanation.json");

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    explain: ExplainArgs,
}

fn args(flags: &[&str]) -> ExplainArgs {
    let line = ["explain", "ort/analyzer-7"].iter().chain(flags);
    Line::try_parse_from(line).map_err(|error| error.to_string()).expect("valid flags").explain
}

/// An API server with these answers, and 404 for the rest.
fn client(answers: &[(&str, u16, &str)]) -> Client {
    let answers: HashMap<_, _> =
        answers.iter().map(|(path, status, body)| ((*path).to_owned(), (*status, (*body).to_owned()))).collect();
    let service = tower::service_fn(move |request: Request<Body>| {
        let found = answers.get(request.uri().path()).cloned();
        let (status, body) = found.unwrap_or_else(|| (404, status_of("NotFound", "there is no such thing", 404)));
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

async fn ask(answers: &[(&str, u16, &str)]) -> Result<Explanation, ExplainError> {
    let (status, body) = args(&[]).ask_leader(client(answers)).await?;
    answer(status, &body)
}

/// The pod's name may have what separates it from the process's own part.
fn held() -> String {
    lease(&json!("jobwarden-reaper-6c_x_0a1b2c3d"))
}

#[tokio::test]
async fn the_leader_is_asked_by_way_of_the_api_server() {
    let explanation = ask(&[(LEASE, 200, &held()), (PROXY, 200, EXPLANATION)]).await.expect("an answer");
    assert_eq!(explanation.job.name, "analyzer-7");
}

#[tokio::test]
async fn what_the_reaper_does_not_know_is_told_in_its_words() {
    let problem = r#"{"error": "no Job ort/analyzer-7 is watched", "hint": "is it enrolled?"}"#;
    let error = ask(&[(LEASE, 200, &held()), (PROXY, 404, problem)]).await.expect_err("there is none");
    assert_eq!(error.to_string(), "no Job ort/analyzer-7 is watched\nis it enrolled?");
}

#[rstest]
#[case::nobody(json!(null))]
#[case::let_go(json!(""))]
#[tokio::test]
async fn nobody_may_lead(#[case] holder: Value) {
    let error = ask(&[(LEASE, 200, &lease(&holder))]).await.expect_err("nobody leads");
    assert!(matches!(error, ExplainError::NoLeader { .. }), "{error}");
}

#[tokio::test]
async fn jobwarden_may_be_elsewhere() {
    let error = ask(&[]).await.expect_err("there is no Lease");
    assert!(matches!(error, ExplainError::Lease { .. }), "{error}");
    assert!(error.to_string().contains("--system-namespace"), "{error}");
}

#[tokio::test]
async fn the_caller_may_not_be_allowed_to() {
    let said = status_of("Forbidden", "pods \"r\" is forbidden: User \"me\" cannot get resource \"pods/proxy\"", 403);
    let error = ask(&[(LEASE, 200, &held()), (PROXY, 403, &said)]).await.expect_err("it is forbidden");
    assert!(error.to_string().contains("cannot get resource \"pods/proxy\""), "{error}");
}

#[rstest]
#[case::as_a_status(status_of("ServiceUnavailable", "error trying to reach service: dial tcp: i/o timeout", 503))]
#[case::as_text("error trying to reach service: dial tcp: i/o timeout".to_owned())]
#[tokio::test]
async fn the_leader_may_be_out_of_reach(#[case] said: String) {
    let error = ask(&[(LEASE, 200, &held()), (PROXY, 503, &said)]).await.expect_err("it is out of reach");
    assert!(matches!(&error, ExplainError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("i/o timeout") && error.to_string().contains("NetworkPolicy"), "{error}");
}

#[tokio::test]
async fn who_holds_the_lease_may_not_lead_yet() {
    let problem = r#"{"error": "this reaper does not lead", "hint": "ask again in a moment"}"#;
    let error = ask(&[(LEASE, 200, &held()), (PROXY, 503, problem)]).await.expect_err("not yet");
    assert!(matches!(error, ExplainError::Problem(_)), "{error}");
}

#[rstest]
#[case("analyzer-7")]
#[case("ort/")]
#[case("/analyzer-7")]
#[case("ort/analyzer-7/status")]
#[case("ort/../secrets")]
#[case("ort/a?b")]
fn a_job_is_named_with_its_namespace(#[case] given: &str) {
    assert!(given.parse::<JobPath>().is_err());
}

/// The page shows what is printed. To bring it up to date, put the output of this test into its second block.
#[test]
fn the_page_shows_the_real_output() {
    let explanation: Explanation = serde_json::from_str(EXPLANATION).expect("an answer of the API");
    let printed = report(&explanation);
    let page = include_str!("../../../../docs/explain.md");
    assert!(page.contains(printed.trim_end()), "{printed}");
}
