//! Requests of sidecars, agents and impersonators.

use std::time::SystemTime;

use http_body_util::BodyExt as _;
use jobwarden_common::{identity::NodeName, names::TOKEN_AUDIENCE, observation::PodObservation};
use jobwarden_core::{
    builders::facts::mk_report,
    evidence::{AgentObservation, LastBeat},
    health::SignalHealth,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::{
    keys::KeyRing,
    token::fixture::{Signer, claims, claims_of, key_set},
    *,
};

/// An intake with the pod `pod` of the Job `job` on `node-1`.
struct TestIntake {
    intake: Intake,
    observer: Observer,
    signer: Signer,
    metrics: Metrics,
    ca: Arc<ArcSwapOption<String>>,
}

fn mk_intake() -> TestIntake {
    let observer = Observer::of_new_leader();
    observer.apply_job_with_pod();
    let (signer, ring, metrics) = (Signer::new("k"), KeyRing::new(), Metrics::default());
    ring.set(key_set(&[&signer]));
    let settings = IntakeSettings {
        own_pod: "reaper".into(),
        beat_interval: Duration::from_secs(10),
        report_interval: Duration::from_secs(8),
    };
    let ca = Arc::new(ArcSwapOption::from_pointee("first bundle".to_owned()));
    let tokens = Verifier::new(ring, None);
    let agents = [("agent-node-1", "node-1"), ("agent-node-2", "node-2")];
    let agents = Agents::fixed("jobwarden-agents", agents);
    let intake = Intake::new(settings, observer.clone(), tokens, agents, Arc::clone(&ca), metrics.clone());
    TestIntake { intake, observer, signer, metrics, ca }
}

/// A body of which nothing may be read.
struct Unread;

impl Body for Unread {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        panic!("the body was read")
    }
}

/// Claims that are valid while the test runs.
fn valid_now(mut claims: Value) -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    claims["exp"] = json!(now + 3600);
    claims
}

impl TestIntake {
    fn pod_token(&self, pod: &str, node: &str) -> String {
        self.signer.sign(&valid_now(claims(pod, node)))
    }

    fn agent_token(&self, node: &str) -> String {
        self.agent_pod_token(&format!("agent-{node}"), node)
    }

    fn agent_pod_token(&self, pod: &str, node: &str) -> String {
        self.signer.sign(&valid_now(claims_of("jobwarden-agents", "jobwarden-agent", pod, node)))
    }

    /// Posts a body of which nothing may be read.
    async fn post_unread(&self, path: &str, token: Option<&str>) -> StatusCode {
        let mut request = Request::post(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.intake.answer(request.body(Unread).expect("a request")).await.status()
    }

    async fn post(&self, path: &str, token: Option<&str>, body: impl Into<Bytes>) -> (StatusCode, String) {
        let mut request = Request::post(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        self.answer(request).await
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> (StatusCode, String) {
        let response = self.intake.answer(request).await;
        let status = response.status();
        let body = response.into_body().collect().await.expect("a whole body").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    async fn beat(&self, token: &str) -> (StatusCode, String) {
        self.post(route::BEATS, Some(token), r#"{"beats":[{"seq":0,"phase":"running"}]}"#).await
    }

    async fn report(&self, token: &str, report: &Report) -> (StatusCode, String) {
        self.post(route::OBSERVATIONS, Some(token), serde_json::to_vec(report).expect("plain values")).await
    }

    fn observed(&self) -> (LastBeat, AgentObservation) {
        let pod = &self.observer.snapshot(&"job".into()).expect("indexed").evidence.pods[0];
        (pod.beat, pod.agent)
    }
}

fn body<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).expect("the reply has the expected shape")
}

#[tokio::test(start_paused = true)]
async fn a_beat_is_accepted_and_answered() {
    let test = mk_intake();
    let (status, text) = test.beat(&test.pod_token("pod", "node-1")).await;
    assert_eq!(status, StatusCode::OK);
    let expected = BeatReply { next_in_ms: 10_000, command: Command::Continue, ca: None };
    assert_eq!(body::<BeatReply>(&text), expected);
    assert_eq!(test.observed().0, LastBeat::Running { last: test.observer.now() });
    assert_eq!(test.metrics.beats.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_beat_of_a_request_decides_the_phase() {
    let test = mk_intake();
    let beats = r#"{"beats":[{"seq":1,"phase":"running"},{"seq":2,"phase":"ending"}]}"#;
    let token = test.pod_token("pod", "node-1");
    assert_eq!(test.post(route::BEATS, Some(&token), beats).await.0, StatusCode::OK);
    assert!(matches!(test.observed().0, LastBeat::Ending { .. }));
    assert_eq!(test.metrics.beats.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_beat_of_an_abandoned_pod_is_answered_with_stop() {
    let test = mk_intake();
    test.observer.abandon(&"pod".into());
    let (status, text) = test.beat(&test.pod_token("pod", "node-1")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body::<BeatReply>(&text).command, Command::Stop);
}

#[tokio::test(start_paused = true)]
async fn replies_carry_a_newer_ca_bundle() {
    let test = mk_intake();
    let token = test.pod_token("pod", "node-1");
    assert_eq!(body::<BeatReply>(&test.beat(&token).await.1).ca, None);
    test.ca.store(Some(Arc::new("second bundle".to_owned())));
    assert_eq!(body::<BeatReply>(&test.beat(&token).await.1).ca.as_deref(), Some("second bundle"));
    let (_, text) = test.report(&test.agent_token("node-1"), &mk_report(&[])).await;
    assert_eq!(body::<ReportReply>(&text).ca.as_deref(), Some("second bundle"));
}

#[tokio::test(start_paused = true)]
async fn replies_carry_both_certificates_if_the_reaper_starts_during_a_rotation() {
    let test = mk_intake();
    let token = test.pod_token("pod", "node-1");
    let both = "-----BEGIN CERTIFICATE-----\nnew\n-----BEGIN CERTIFICATE-----\nold\n";
    test.ca.store(Some(Arc::new(both.to_owned())));
    assert_eq!(body::<BeatReply>(&test.beat(&token).await.1).ca.as_deref(), Some(both));
}

#[tokio::test(start_paused = true)]
async fn the_reapers_own_beat_makes_health_receiving() {
    let test = mk_intake();
    assert_eq!(test.observer.health(), SignalHealth::NotReceiving);
    let (status, _) = test.beat(&test.pod_token("reaper", "node-1")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(test.observer.health(), SignalHealth::Receiving);
}

#[tokio::test(start_paused = true)]
async fn the_beat_of_another_pod_does_not_make_health_receiving() {
    let test = mk_intake();
    test.beat(&test.pod_token("pod", "node-1")).await;
    assert_eq!(test.observer.health(), SignalHealth::NotReceiving);
}

/// Every kind of rejected token, as `(token, status, reason)`.
fn rejected_tokens(test: &TestIntake) -> Vec<(Option<String>, StatusCode, &'static str)> {
    let sign = |claims: Value| Some(test.signer.sign(&claims));
    let changed = |key: &str, value: Value| {
        let mut claims = valid_now(claims("pod", "node-1"));
        claims[key] = value;
        sign(claims)
    };
    let forged = Signer::new("k").sign(&valid_now(claims("pod", "node-1")));
    vec![
        (None, StatusCode::UNAUTHORIZED, "missing_token"),
        (Some("junk".to_owned()), StatusCode::UNAUTHORIZED, "malformed"),
        (Some(forged), StatusCode::UNAUTHORIZED, "signature"),
        (changed("aud", json!(["https://kubernetes.default.svc"])), StatusCode::UNAUTHORIZED, "audience"),
        (changed("iss", json!("https://elsewhere")), StatusCode::UNAUTHORIZED, "issuer"),
        (changed("exp", json!(1_000_000)), StatusCode::UNAUTHORIZED, "expired"),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_beat_with_an_invalid_token_is_rejected_and_counted() {
    let test = mk_intake();
    for (token, status, reason) in rejected_tokens(&test) {
        let got = test.post(route::BEATS, token.as_deref(), r#"{"beats":[{"seq":0,"phase":"running"}]}"#).await.0;
        assert_eq!(got, status, "{reason}");
        assert_eq!(test.metrics.beats_rejected.total(reason), 1, "{reason}");
    }
    assert_eq!(test.observed().0, LastBeat::None);
    assert_eq!(test.metrics.beats.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_report_with_an_invalid_token_is_rejected_and_counted() {
    let test = mk_intake();
    let report = serde_json::to_vec(&mk_report(&[("pod", 1)])).expect("plain values");
    for (token, status, reason) in rejected_tokens(&test) {
        let got = test.post(route::OBSERVATIONS, token.as_deref(), report.clone()).await.0;
        assert_eq!(got, status, "{reason}");
        assert_eq!(test.metrics.observations_rejected.total(reason), 1, "{reason}");
    }
    assert_eq!(test.observed().1, AgentObservation::None);
}

#[tokio::test(start_paused = true)]
async fn a_valid_token_of_a_pod_that_is_gone_is_forbidden() {
    let test = mk_intake();
    assert_eq!(test.beat(&test.pod_token("another", "node-1")).await.0, StatusCode::FORBIDDEN);
    test.observer.with(|index, now| index.delete_pod(&"pod".into(), now));
    assert_eq!(test.beat(&test.pod_token("pod", "node-1")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(test.metrics.beats_rejected.total("unknown_pod"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_issued_for_another_node_is_forbidden() {
    let test = mk_intake();
    assert_eq!(test.beat(&test.pod_token("pod", "node-2")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(test.metrics.beats_rejected.total("wrong_node"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_standby_rejects_requests_and_closes_connections() {
    let test = mk_intake();
    test.observer.stop_listening();
    let request = Request::post(route::BEATS).body(Full::new(Bytes::new())).expect("a request");
    let response = test.intake.answer(request).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::CONNECTION], "close");
    assert_eq!(test.report(&test.agent_token("node-1"), &mk_report(&[])).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(test.metrics.beats_rejected.total("not_leader"), 1);
}

#[rstest]
#[case::empty("")]
#[case::not_json("beats!")]
#[case::other_json(r#"{"seq":0}"#)]
#[case::unknown_phase(r#"{"beats":[{"seq":0,"phase":"resting"}]}"#)]
#[case::no_beats(r#"{"beats":[]}"#)]
#[case::negative(r#"{"beats":[{"seq":-1,"phase":"running"}]}"#)]
#[case::too_many(&format!(r#"{{"beats":[{}]}}"#, vec![r#"{"seq":0,"phase":"running"}"#; 17].join(",")))]
#[case::deep(&"[".repeat(10_000))]
#[tokio::test(start_paused = true)]
async fn an_invalid_beat_body_is_a_bad_request(#[case] text: &str) {
    let test = mk_intake();
    let token = test.pod_token("pod", "node-1");
    let (status, _) = test.post(route::BEATS, Some(&token), text.to_owned()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(test.metrics.beats_rejected.total("body"), 1);
    assert_eq!(test.observed().0, LastBeat::None);
}

#[tokio::test(start_paused = true)]
async fn an_oversized_body_is_rejected() {
    let test = mk_intake();
    let token = test.pod_token("pod", "node-1");
    let (status, _) = test.post(route::BEATS, Some(&token), vec![b' '; MAX_BEATS_BODY + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let agent = test.agent_token("node-1");
    let (status, _) = test.post(route::OBSERVATIONS, Some(&agent), vec![b' '; MAX_REPORT_BODY + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(start_paused = true)]
async fn other_routes_and_methods_are_rejected() {
    let test = mk_intake();
    assert_eq!(test.post("/", None, "").await.0, StatusCode::NOT_FOUND);
    let get = Request::get(route::BEATS).body(Full::new(Bytes::new())).expect("a request");
    assert_eq!(test.answer(get).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(start_paused = true)]
async fn a_report_is_accepted_and_answered() {
    let test = mk_intake();
    let (status, text) = test.report(&test.agent_token("node-1"), &mk_report(&[("pod", 2)])).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body::<ReportReply>(&text), ReportReply { next_in_ms: 8_000, pods: vec!["pod".into()], ca: None });
    assert_eq!(test.observed().1, AgentObservation::Alive { last: test.observer.now() });
    assert_eq!(test.metrics.observations.get(), 1);
}

#[rstest]
#[case::a_worker("ort", "default")]
#[case::the_account_name_in_another_namespace("ort", "jobwarden-agent")]
#[case::another_account_in_the_namespace("jobwarden-agents", "default")]
#[tokio::test(start_paused = true)]
async fn a_report_of_another_service_account_is_forbidden(#[case] namespace: &str, #[case] account: &str) {
    let test = mk_intake();
    let token = test.signer.sign(&valid_now(claims_of(namespace, account, "pod", "node-1")));
    assert_eq!(test.report(&token, &mk_report(&[("pod", 1)])).await.0, StatusCode::FORBIDDEN);
    assert_eq!(test.metrics.observations_rejected.total("not_agent"), 1);
    assert_eq!(test.observed().1, AgentObservation::None);
}

#[tokio::test(start_paused = true)]
async fn a_report_about_a_pod_of_another_node_is_forbidden() {
    let test = mk_intake();
    let token = test.agent_token("node-2");
    assert_eq!(test.report(&token, &mk_report(&[("pod", 0)])).await.0, StatusCode::FORBIDDEN);
    assert_eq!(test.metrics.observations_rejected.total("wrong_node"), 1);
    assert_eq!(test.observed().1, AgentObservation::None);
}

#[tokio::test(start_paused = true)]
async fn an_agent_token_without_a_node_is_forbidden() {
    let test = mk_intake();
    let mut claims = valid_now(claims_of("jobwarden-agents", "jobwarden-agent", "agent-pod", "node-1"));
    claims["kubernetes.io"]["node"] = json!(null);
    let status = test.report(&test.signer.sign(&claims), &mk_report(&[("pod", 1)])).await.0;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(test.metrics.observations_rejected.total("no_node"), 1);
}

#[rstest]
#[case::another_pod_with_the_agents_account("made-up", "node-1")]
#[case::an_agent_of_another_node("agent-node-2", "node-1")]
#[tokio::test(start_paused = true)]
async fn a_report_of_an_agent_whose_pod_is_not_on_that_node_is_forbidden(#[case] pod: &str, #[case] node: &str) {
    let test = mk_intake();
    let token = test.agent_pod_token(pod, node);
    assert_eq!(test.report(&token, &mk_report(&[("pod", 1)])).await.0, StatusCode::FORBIDDEN);
    assert_eq!(test.metrics.observations_rejected.total("unknown_agent"), 1);
    assert_eq!(test.observed().1, AgentObservation::None);
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_body_is_read_before_its_sender_is_known() {
    let test = mk_intake();
    for (token, expected, reason) in rejected_tokens(&test) {
        for path in [route::BEATS, route::OBSERVATIONS] {
            assert_eq!(test.post_unread(path, token.as_deref()).await, expected, "{path}: {reason}");
        }
    }
    // Any pod of the cluster gets a token for the audience.
    for token in [
        test.pod_token("pod", "node-1"),
        test.agent_pod_token("made-up", "node-1"),
        test.agent_pod_token("agent-node-2", "node-1"),
    ] {
        assert_eq!(test.post_unread(route::OBSERVATIONS, Some(&token)).await, StatusCode::FORBIDDEN);
    }
    assert_eq!(test.post_unread("/", None).await, StatusCode::NOT_FOUND);
    test.observer.stop_listening();
    let token = test.agent_token("node-1");
    assert_eq!(test.post_unread(route::OBSERVATIONS, Some(&token)).await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_report_of_ten_thousand_pods_is_rejected() {
    let test = mk_intake();
    let pods = (0..10_000).map(|i| PodObservation { pod_uid: i.to_string().into(), containers: Vec::new() });
    let report = Report { pods: pods.collect(), ..Report::default() };
    assert_eq!(test.report(&test.agent_token("node-1"), &report).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(test.metrics.observations_rejected.total("body"), 1);
}

#[tokio::test(start_paused = true)]
async fn unknown_pods_and_nodes_are_not_stored() {
    let test = mk_intake();
    let pods = (0..2000).map(|i| PodObservation { pod_uid: i.to_string().into(), containers: Vec::new() });
    let report = Report { pods: pods.collect(), ..Report::default() };
    // The watch has not delivered the node of the second agent.
    assert_eq!(test.report(&test.agent_token("node-2"), &report).await.0, StatusCode::OK);
    for node in 0..50 {
        let node = NodeName::from(format!("made-up-{node}"));
        assert_eq!(test.report(&test.agent_token(node.as_str()), &report).await.0, StatusCode::FORBIDDEN);
        test.beat(&test.pod_token(&format!("unknown-{node}"), "node-1")).await;
    }
    let stored = test.observer.with(|index, _| (index.jobs(), index.pods(), index.nodes()));
    assert_eq!(stored, (1, 1, 1));
}

#[rstest]
#[case("Bearer t", Some("t"))]
#[case("bearer t", Some("t"))]
#[case("Basic t", None)]
#[case("Bearer", None)]
#[case("Bearer ", None)]
fn a_bearer_token_is_read_from_its_header(#[case] value: &'static str, #[case] expected: Option<&str>) {
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
    assert_eq!(bearer_token(&headers), expected);
}

#[test]
fn metrics_have_the_documented_names() {
    let metrics = Metrics::default();
    metrics.beats_rejected.count(&Rejection::MissingToken);
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("writing to a String cannot fail");
    for line in [
        "jobwarden_beats_total 0",
        r#"jobwarden_beats_refused_total{reason="missing_token"} 1"#,
        "jobwarden_observations_total 0",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{text}");
    }
    assert_eq!(TOKEN_AUDIENCE, "jobwarden-reaper");
}
