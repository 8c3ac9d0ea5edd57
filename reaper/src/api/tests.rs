//! The API of a leading reaper with one Job.

use axum::{Router, body::Body, http::Request};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use jobwarden_common::{
    api::{Explanation, Problem},
    identity::JobUid,
};
use jobwarden_core::reconcile::Mode;
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::{
    execute::{Executor, FailWith},
    fake_api::FakeApi,
    metrics::Metrics,
};

struct TestApi {
    observer: Observer,
    enforcer: Arc<Enforcer>,
    leadership: watch::Sender<Leadership>,
    router: Router,
}

fn mk_api() -> TestApi {
    let (api, outbox) = (FakeApi::default(), Outbox::new());
    let executor = Executor::new(
        api.client(),
        "jobwarden",
        "reaper-0".to_owned(),
        outbox.clone(),
        vec!["ort".to_owned()],
        FailWith::FailureTarget,
        Metrics::default(),
    );
    let observer = Observer::of_one_job();
    let enforcer = Enforcer::new(observer.clone(), outbox.clone(), executor, Mode::Enforce);
    let enforcer = Arc::new(enforcer);
    let (leadership, following) = watch::channel(Leadership::Leader { term: 1 });
    let parts = Api { observer: observer.clone(), outbox, enforcer: Arc::clone(&enforcer), leadership: following };
    TestApi { observer, enforcer, leadership, router: routes::router(parts) }
}

impl TestApi {
    async fn get(&self, path: &str) -> (u16, Value) {
        let request = Request::get(path).body(Body::empty()).expect("a valid request");
        let response = self.router.clone().oneshot(request).await.expect("it cannot fail");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body in memory").to_bytes();
        (status, serde_json::from_slice(&body).expect("always JSON"))
    }

    async fn reconcile(&self) {
        self.enforcer.preview(&JobUid::from("job"));
        self.enforcer.enforce(&JobUid::from("job")).await;
    }
}

/// Replaces the times, which differ from run to run.
fn without_times(mut value: Value) -> Value {
    match &mut value {
        Value::String(text) if text.parse::<Timestamp>().is_ok() => json!("<time>"),
        Value::Array(list) => list.drain(..).map(without_times).collect(),
        Value::Object(map) => std::mem::take(map).into_iter().map(|(key, value)| (key, without_times(value))).collect(),
        _ => value,
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_is_explained_in_full() {
    let test = mk_api();
    test.observer.silence(41).await;
    test.reconcile().await;
    let (status, body) = test.get("/v1/jobs/ort/job-name").await;
    assert_eq!(status, 200);
    insta::assert_json_snapshot!("job", without_times(body));
}

#[tokio::test(start_paused = true)]
async fn jobs_are_listed_with_their_verdicts() {
    let test = mk_api();
    test.reconcile().await;
    let (status, body) = test.get("/v1/jobs?namespace=ort&verdict=alive&limit=1").await;
    assert_eq!(status, 200);
    insta::assert_json_snapshot!("jobs", without_times(body));
    for nothing in ["/v1/jobs?namespace=other", "/v1/jobs?verdict=lost", "/v1/jobs?after=ort/zzz"] {
        assert_eq!(test.get(nothing).await.1["jobs"], json!([]), "{nothing}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_guards_are_shown() {
    let test = mk_api();
    test.reconcile().await;
    insta::assert_json_snapshot!("guards", test.get("/v1/guards").await.1);
}

#[tokio::test(start_paused = true)]
async fn a_held_loss_is_shown_by_every_route() {
    let test = mk_api();
    test.observer.silence(121).await;
    // The reaper's own beat stops, too, after the others.
    tokio::time::advance(std::time::Duration::from_secs(20)).await;
    test.reconcile().await;
    assert_eq!(test.get("/v1/jobs/ort/job-name").await.1["held"]["guard"], "self-beat");
    assert_eq!(test.get("/v1/jobs").await.1["jobs"][0]["held"], "self-beat");
    let guards = test.get("/v1/guards").await.1;
    assert_eq!(guards["held"], json!([{ "namespace": "ort", "name": "job-name", "guard": "self-beat" }]));
    assert_eq!(guards["signals"], "self-beat");
}

#[rstest]
#[case("/v1/jobs/ort/other", 404)]
#[case("/v1/jobs/other/job-name", 404)]
#[case("/v1/elsewhere", 404)]
#[case("/v1/jobs?sort=up", 400)]
#[case("/v1/jobs?limit=many", 400)]
#[tokio::test(start_paused = true)]
async fn an_error_response_has_a_hint(#[case] path: &str, #[case] expected: u16) {
    let (status, body) = mk_api().get(path).await;
    assert_eq!(status, expected);
    assert!(body["error"].is_string() && body["hint"].is_string(), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_standby_names_the_leader() {
    let test = mk_api();
    test.leadership.send_replace(Leadership::Standby { holder: Some("reaper-1_ab".to_owned()) });
    for path in ["/v1/jobs", "/v1/jobs/ort/job-name", "/v1/guards"] {
        let (status, body) = test.get(path).await;
        assert_eq!((status, &body["leader"]), (503, &json!("reaper-1_ab")), "{path}");
    }
    test.leadership.send_replace(Leadership::Leader { term: 2 });
    test.observer.stop_listening();
    assert_eq!(test.get("/v1/jobs").await.0, 503, "the leader does not receive beats yet");
}

/// Over a socket, as the command line asks.
#[tokio::test]
async fn a_job_is_served_over_http() {
    jobwarden_serve::tls::install_crypto_provider();
    let TestApi { router, .. } = mk_api();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let serving = tokio::spawn(server::serve_router(listener, router));
    let get = async |job: &str| reqwest::get(format!("http://{address}/v1/jobs/{job}")).await.expect("a response");
    let explanation: Explanation = get("ort/job-name").await.json().await.expect("the wire type");
    assert_eq!((explanation.job.name.as_str(), explanation.verdict.verdict.as_str()), ("job-name", "alive"));
    let refused = get("ort/another").await;
    assert_eq!(refused.status(), 404);
    let problem: Problem = refused.json().await.expect("the wire type");
    assert!(problem.error.contains("ort/another is not watched") && problem.hint.contains("enrolled"), "{problem:?}");
    serving.abort();
}
