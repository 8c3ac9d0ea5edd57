//! The API of a leading reaper with one Job.

use axum::{Router, body::Body, http::Request};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use jobwarden_common::{
    api::{Explanation, Problem},
    identity::JobUid,
    notification::Cause,
};
use jobwarden_core::{
    builders::facts::{mk_job, mk_node, mk_pod},
    evidence::{JobIdentity, PodPhase},
    facts::{job::JobFacts, node::Health, pod::PodFacts},
    health::{Failure, Watch},
    reconcile::Mode,
};
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::{
    deliver::{Config, Routes},
    execute::{Executor, FailWith},
    fake_api::FakeApi,
    metrics::Metrics,
};

struct TestApi {
    observer: Observer,
    enforcer: Arc<Enforcer>,
    leadership: watch::Sender<Leadership>,
    router: Router,
    /// What is served over TLS.
    tls: Router,
}

fn mk_api() -> TestApi {
    let (api, outbox) = (FakeApi::default(), Outbox::new());
    let executor = Executor::new(
        api.client(),
        "jobwarden",
        "reaper-0".to_owned(),
        outbox.clone(),
        Routes::to_everyone(&["ort"]),
        FailWith::FailureTarget,
        Metrics::default(),
    );
    let deliverer = Deliverer::new(
        &Config::default(),
        Routes::default(),
        api.client(),
        "jobwarden",
        executor.events().clone(),
        outbox.clone(),
        Metrics::default(),
    );
    let observer = Observer::of_one_job();
    let enforcer = Enforcer::new(observer.clone(), outbox.clone(), executor, Mode::Enforce);
    let enforcer = Arc::new(enforcer);
    let (leadership, following) = watch::channel(Leadership::Leader { term: 1 });
    let parts = Api {
        observer: observer.clone(),
        outbox,
        deliverer: deliverer.expect("no sinks"),
        enforcer: Arc::clone(&enforcer),
        access: Arc::new(Access::new(reviews(), super::Metrics::default())),
        tls: true,
        lists: Arc::new(Semaphore::new(1)),
        operators: Arc::new(Operators::new(token_reviews(), "jobwarden")),
        leadership: following,
    };
    TestApi {
        observer,
        enforcer,
        leadership,
        tls: routes::authenticated(parts.clone()),
        router: routes::loopback(parts),
    }
}

/// An API server that knows some users and what they may read.
///
/// | token | may |
/// |---|---|
/// | `admin` | everything |
/// | `ort` | list and get Jobs in the namespace ort |
/// | `ort-logs` | that, and read logs there |
/// | `one` | get the Job ort/job-name |
/// | `other` | list and get Jobs in the namespace other |
/// | `sidecar` | everything, but is for another audience |
fn reviews() -> kube::Client {
    let service = tower::service_fn(|request: Request<kube::client::Body>| async move {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        let mut review: Value = serde_json::from_slice(&body).expect("JSON");
        if path.ends_with("/tokenreviews") {
            assert_eq!(review["spec"]["audiences"], json!(["jobwarden-api"]));
            let token = review["spec"]["token"].as_str().unwrap_or_default().to_owned();
            let audience = if token == "sidecar" { "jobwarden-reaper" } else { "jobwarden-api" };
            review["status"] = json!({
                "authenticated": token != "stranger", "audiences": [audience], "user": { "username": token, "groups": ["g"] },
            });
        } else {
            let (spec, asked) = (&review["spec"], &review["spec"]["resourceAttributes"]);
            let is_probe = spec["user"] == "system:anonymous";
            assert!(is_probe || spec["groups"] == json!(["g"]), "the user is reviewed as he was authenticated");
            let (verb, resource) =
                (asked["verb"].as_str().unwrap_or_default(), asked["resource"].as_str().unwrap_or_default());
            let (group, namespace, name) = (&asked["group"], &asked["namespace"], &asked["name"]);
            let jobs = group == "batch" && resource == "jobs" && matches!(verb, "list" | "get");
            let logs = group == "" && resource == "pods" && asked["subresource"] == "log" && verb == "get";
            let allowed = match spec["user"].as_str().unwrap_or_default() {
                "admin" => true,
                "ort" => jobs && namespace == "ort",
                "ort-logs" => (jobs || logs) && namespace == "ort",
                "one" => jobs && verb == "get" && namespace == "ort" && name == "job-name",
                "other" => jobs && namespace == "other",
                _ => false,
            };
            review["status"] = json!({ "allowed": allowed });
        }
        http::Response::builder().body(kube::client::Body::from(review.to_string().into_bytes()))
    });
    kube::Client::new(service, "default")
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

    /// Over TLS, with this token.
    async fn get_as(&self, token: &str, path: &str) -> (u16, Value) {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::empty()).expect("a valid request");
        let response = self.tls.clone().oneshot(request).await.expect("it cannot fail");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body in memory").to_bytes();
        (status, serde_json::from_slice(&body).expect("always JSON"))
    }

    /// Adds Jobs of other namespaces, about which something is concluded.
    async fn add_jobs(&self, jobs: &[(&str, &str)]) {
        for (number, (namespace, name)) in jobs.iter().enumerate() {
            let uid = format!("more-{number}");
            self.observer.with(|index, now| {
                let facts = mk_job(&uid);
                let identity = JobIdentity {
                    namespace: (*namespace).to_owned(),
                    name: (*name).to_owned(),
                    ..facts.identity.clone()
                };
                index.apply_job(JobFacts { identity, ..facts }, now);
            });
            self.enforcer.preview(&JobUid::from(uid.as_str()));
            self.enforcer.enforce(&JobUid::from(uid.as_str())).await;
        }
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

fn names(page: &Value) -> Vec<String> {
    let jobs = page["jobs"].as_array().expect("a list").iter();
    jobs.map(|job| format!("{}/{}", job["namespace"].as_str().unwrap_or(""), job["name"].as_str().unwrap_or("")))
        .collect()
}

/// Each route and user; the answer never depends on whether what is asked for exists.
#[rstest]
#[case::all("/v1/jobs", &["admin", "ort", "ort-logs", "one", "other"], &[])]
#[case::namespace("/v1/jobs?namespace=ort", &["admin", "ort", "ort-logs"], &["one", "other"])]
#[case::another("/v1/jobs?namespace=absent", &["admin"], &["ort", "ort-logs", "one", "other"])]
#[case::job("/v1/jobs/ort/job-name", &["admin", "ort", "ort-logs", "one"], &["other"])]
#[case::absent("/v1/jobs/ort/absent", &[], &["one", "other"])]
#[case::guards("/v1/guards", &["admin"], &["ort", "ort-logs", "one", "other"])]
#[case::breaker("/v1/breaker", &["admin"], &["ort", "ort-logs", "one", "other"])]
#[case::access("/v1/access", &["admin"], &["ort", "ort-logs", "one", "other"])]
#[tokio::test(start_paused = true)]
async fn over_tls_everybody_reads_what_he_may_read(
    #[case] path: &str,
    #[case] allowed: &[&str],
    #[case] forbidden: &[&str],
) {
    let test = mk_api();
    test.reconcile().await;
    for user in allowed {
        assert_eq!(test.get_as(user, path).await.0, 200, "{user} {path}");
    }
    for user in forbidden {
        let (status, body) = test.get_as(user, path).await;
        assert_eq!((status, body["jobs"].is_null()), (403, true), "{user} {path}");
    }
    for user in ["stranger", "sidecar", ""] {
        assert_eq!(test.get_as(user, path).await.0, 401, "{user} {path}");
    }
    let request = Request::get(path).body(Body::empty()).expect("a valid request");
    let answer = test.tls.clone().oneshot(request).await.expect("it cannot fail");
    assert_eq!(answer.status().as_u16(), 401, "without a token");
    assert_eq!(answer.headers()["www-authenticate"], "Bearer");
}

#[tokio::test(start_paused = true)]
async fn a_list_shows_only_the_namespaces_that_the_caller_may_list() {
    let test = mk_api();
    test.reconcile().await;
    test.add_jobs(&[("other", "b"), ("other", "a"), ("third", "c")]).await;
    let all = ["ort/job-name", "other/a", "other/b", "third/c"];
    assert_eq!(names(&test.get("/v1/jobs").await.1), all);
    assert_eq!(names(&test.get_as("admin", "/v1/jobs").await.1), all);
    assert_eq!(names(&test.get_as("other", "/v1/jobs").await.1), ["other/a", "other/b"]);
    assert_eq!(names(&test.get_as("one", "/v1/jobs").await.1), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_page_is_bounded_by_jobs_bytes_and_reviews_and_the_next_one_continues() {
    let test = mk_api();
    test.reconcile().await;
    let names_of: Vec<_> = (0..70).map(|number| format!("space-{number:02}")).collect();
    let spaces = names_of.iter().map(|namespace| (namespace.as_str(), "x"));
    let jobs: Vec<_> = spaces.chain([("other", "a"), ("other", "b")]).collect();
    test.add_jobs(&jobs).await;
    let (mut path, mut pages, mut seen) = ("/v1/jobs?limit=20".to_owned(), 0, Vec::new());
    loop {
        let (status, page) = test.get_as("admin", &path).await;
        assert_eq!(status, 200, "{page}");
        pages += 1;
        seen.extend(names(&page));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/jobs?limit=20&after={next}");
    }
    assert_eq!((pages, seen.len()), (4, 73));
    assert!(seen.is_sorted(), "{seen:?}");

    // Somebody who may list one namespace of 72: the first page has reviewed 32 of them.
    let (_, first) = test.get_as("other", "/v1/jobs").await;
    assert_eq!((names(&first).len(), &first["next"]), (2, &json!("space-29/~/")));
    let (_, second) = test.get_as("other", "/v1/jobs?after=space-29/~/").await;
    assert_eq!((names(&second).len(), &second["next"]), (0, &json!("space-61/~/")));
    let (_, third) = test.get_as("other", "/v1/jobs?after=space-61/~/").await;
    assert_eq!((names(&third).len(), &third["next"]), (0, &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_may_hold_log_lines_is_for_those_who_may_read_logs() {
    let test = mk_api();
    test.observer.with(|index, now| {
        let cause = Cause { message: Some("password=x".to_owned()), exit_code: Some(1), ..Cause::default() };
        let cause = Some(Box::new(cause));
        index.apply_pod(PodFacts { phase: PodPhase::Failed, cause, ..mk_pod("pod", "job") }, now);
    });
    test.reconcile().await;
    let message = |body: &Value| body["pods"][0]["cause"]["message"].clone();
    let path = "/v1/jobs/ort/job-name";
    assert_eq!(message(&test.get(path).await.1), "password=x", "an operator by port-forward");
    for (user, shown) in [("admin", true), ("ort-logs", true), ("ort", false), ("one", false)] {
        let (_, body) = test.get_as(user, path).await;
        assert_eq!(message(&body).is_null(), !shown, "{user}");
        assert_eq!(body["messagesWithheld"] == json!(true), !shown, "{user}");
        assert_eq!(body["pods"][0]["cause"]["exitCode"], 1, "{user}");
        assert_eq!(body.to_string().contains("password"), shown, "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_does_not_release_the_breaker() {
    let test = mk_api();
    for (header, token, expected) in [
        ("authorization", "Bearer admin", 401),
        ("authorization", "Bearer operator", 401),
        ("x-jobwarden-operator-token", "admin", 403),
        ("x-jobwarden-operator-token", "operator", 200),
    ] {
        let request = Request::post("/v1/breaker/release").header(header, token);
        let request = request.body(Body::empty()).expect("a valid request");
        let answer = test.tls.clone().oneshot(request).await.expect("it cannot fail");
        assert_eq!(answer.status().as_u16(), expected, "{header}: {token}");
    }
}

#[tokio::test(start_paused = true)]
async fn whether_callers_can_be_authenticated_is_shown() {
    let test = mk_api();
    assert_eq!(test.get("/v1/access").await, (200, json!({ "tls": true })));
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
