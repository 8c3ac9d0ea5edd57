//! The API of a leading reaper with one Job.

use axum::{Router, body::Body, http::Request};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use jobwarden_common::{
    api::{Explanation, Problem},
    identity::JobUid,
};
use jobwarden_core::{
    builders::facts::{mk_job, mk_node, mk_pod},
    facts::{node::Health, pod::PodFacts},
    health::{Failure, Watch},
    reconcile::Mode,
};
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
    let parts = Api {
        observer: observer.clone(),
        outbox,
        enforcer: Arc::clone(&enforcer),
        operators: Arc::new(Operators::new(token_reviews(), "jobwarden")),
        leadership: following,
    };
    TestApi { observer, enforcer, leadership, router: routes::router(parts) }
}

/// An API server that knows the token `operator`.
fn token_reviews() -> kube::Client {
    let service = tower::service_fn(|request: Request<kube::client::Body>| async move {
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        let mut review: Value = serde_json::from_slice(&body).expect("JSON");
        let user = json!({ "username": "system:serviceaccount:jobwarden:jobwarden-operator" });
        let is_known = review["spec"]["token"] == "operator";
        review["status"] = json!({ "authenticated": is_known, "audiences": review["spec"]["audiences"], "user": user });
        http::Response::builder().body(kube::client::Body::from(review.to_string().into_bytes()))
    });
    kube::Client::new(service, "default")
}

impl TestApi {
    async fn release(&self, token: Option<&str>) -> (u16, Value) {
        let mut request = Request::post("/v1/breaker/release");
        if let Some(token) = token {
            request = request.header("X-Jobwarden-Operator-Token", token);
        }
        let request = request.body(Body::empty()).expect("a valid request");
        let response = self.router.clone().oneshot(request).await.expect("it cannot fail");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body in memory").to_bytes();
        (status, serde_json::from_slice(&body).expect("always JSON"))
    }

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
    test.observer.watch_failed(Watch::Nodes, Failure::Disconnected);
    test.reconcile().await;
    assert_eq!(test.get("/v1/jobs/ort/job-name").await.1["held"]["guard"], "watch-down");
    assert_eq!(test.get("/v1/jobs").await.1["jobs"][0]["held"], "watch-down");
    let guards = test.get("/v1/guards").await.1;
    assert_eq!(guards["held"], json!([{ "namespace": "ort", "name": "job-name", "guard": "watch-down" }]));
    assert_eq!(guards["signals"], "watch-down");
}

#[tokio::test(start_paused = true)]
async fn the_breaker_is_shown_and_released_by_an_operator_alone() {
    let test = mk_api();
    test.observer.with(|index, now| {
        for node in 0..3 {
            let (name, pod) = (format!("silent-{node}"), format!("pod-{node}"));
            index.apply_node(&mk_node(&name, Health::Ready), now);
            index.apply_job(mk_job(&format!("job-{node}")), now);
            index.apply_pod(PodFacts { node: Some(name.as_str().into()), ..mk_pod(&pod, &format!("job-{node}")) }, now);
        }
    });
    for _ in 0..13 {
        test.observer.silence(1).await;
        test.observer.with(|index, now| {
            let _ = index.beat(&"pod".into(), None, jobwarden_common::beat::Phase::Running, now);
        });
    }
    test.reconcile().await;
    insta::assert_json_snapshot!("breaker", without_times(test.get("/v1/breaker").await.1));
    for (token, expected) in [(None, 401), (Some("tenant"), 403)] {
        assert_eq!(test.release(token).await.0, expected);
        assert_eq!(test.get("/v1/breaker").await.1["domains"][0]["affected"], 3);
    }
    assert_eq!(test.release(Some("operator")).await, (200, json!({ "released": 3 })));
    assert_eq!(test.get("/v1/breaker").await.1["domains"], json!([]));
    let opened = Request::get("/v1/breaker/release").body(Body::empty()).expect("a valid request");
    let answer = test.router.clone().oneshot(opened).await.expect("it cannot fail");
    assert_eq!(answer.status().as_u16(), 405, "a page that somebody opens releases nothing");
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
