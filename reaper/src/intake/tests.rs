//! Requests as sidecars, agents and their impersonators send them.

use http_body_util::BodyExt as _;
use jobwarden_common::{identity::NodeName, names::TOKEN_AUDIENCE, observation::PodObservation};
use jobwarden_core::{
    builders::facts::{mk_job, mk_pod, mk_report},
    evidence::{AgentObservation, LastBeat},
    health::{SignalHealth, Watch},
    policy::Policy,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::{
    keys::KeyRing,
    token::fixture::{Signer, claims, claims_of, key_set},
    *,
};

/// An intake that knows pod `pod` of Job `job` on `node-1`.
struct Setting {
    intake: Intake,
    observer: Observer,
    signer: Signer,
    metrics: Metrics,
    ca: Arc<ArcSwapOption<String>>,
}

fn mk_setting() -> Setting {
    let observer = Observer::new(Policy::default());
    for watch in Watch::ALL {
        observer.watch_listed(watch);
    }
    observer.start_listening();
    observer.with(|state, now| {
        state.apply_job(mk_job("job"), now);
        state.apply_pod(mk_pod("pod", "job"), now);
    });
    let (signer, ring, metrics) = (Signer::new("k"), KeyRing::new(), Metrics::default());
    ring.set(key_set(&[&signer]));
    let settings = IntakeSettings {
        own_pod: "reaper".into(),
        agent_namespace: "jobwarden-agents".to_owned(),
        beat_interval: Duration::from_secs(10),
        report_interval: Duration::from_secs(8),
    };
    let ca = Arc::new(ArcSwapOption::from_pointee("first bundle".to_owned()));
    let tokens = Verifier::new(ring, None);
    let intake = Intake::new(settings, observer.clone(), tokens, Arc::clone(&ca), metrics.clone());
    Setting { intake, observer, signer, metrics, ca }
}

/// Signed for as long as the test runs, and no longer than a day.
fn in_force(mut claims: Value) -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    claims["exp"] = json!(now + 3600);
    claims
}

impl Setting {
    fn pod_token(&self, pod: &str, node: &str) -> String {
        self.signer.sign(&in_force(claims(pod, node)))
    }

    fn agent_token(&self, node: &str) -> String {
        self.signer.sign(&in_force(claims_of("jobwarden-agents", "jobwarden-agent", "agent-pod", node)))
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

    fn pod_heard(&self) -> (LastBeat, AgentObservation) {
        let pod = &self.observer.snapshot(&"job".into()).expect("known").evidence.pods[0];
        (pod.beat, pod.agent)
    }
}

fn body<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).expect("the reply is what it should be")
}

#[tokio::test(start_paused = true)]
async fn a_beat_is_taken_and_answered() {
    let setting = mk_setting();
    let (status, text) = setting.beat(&setting.pod_token("pod", "node-1")).await;
    assert_eq!(status, StatusCode::OK);
    let expected = BeatReply { next_in_ms: 10_000, command: Command::Continue, ca: None };
    assert_eq!(body::<BeatReply>(&text), expected);
    assert_eq!(setting.pod_heard().0, LastBeat::Running { last: setting.observer.now() });
    assert_eq!(setting.metrics.beats.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_of_several_beats_counts() {
    let setting = mk_setting();
    let beats = r#"{"beats":[{"seq":1,"phase":"running"},{"seq":2,"phase":"ending"}]}"#;
    let token = setting.pod_token("pod", "node-1");
    assert_eq!(setting.post(route::BEATS, Some(&token), beats).await.0, StatusCode::OK);
    assert!(matches!(setting.pod_heard().0, LastBeat::Ending { .. }));
    assert_eq!(setting.metrics.beats.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_given_up_is_told_to_stop() {
    let setting = mk_setting();
    setting.observer.abandon(&"pod".into());
    let (status, text) = setting.beat(&setting.pod_token("pod", "node-1")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body::<BeatReply>(&text).command, Command::Stop);
}

#[tokio::test(start_paused = true)]
async fn a_newer_ca_bundle_is_told() {
    let setting = mk_setting();
    let token = setting.pod_token("pod", "node-1");
    assert_eq!(body::<BeatReply>(&setting.beat(&token).await.1).ca, None);
    setting.ca.store(Some(Arc::new("second bundle".to_owned())));
    assert_eq!(body::<BeatReply>(&setting.beat(&token).await.1).ca.as_deref(), Some("second bundle"));
    let (_, text) = setting.report(&setting.agent_token("node-1"), &mk_report(&[])).await;
    assert_eq!(body::<ReportReply>(&text).ca.as_deref(), Some("second bundle"));
}

#[tokio::test(start_paused = true)]
async fn a_reaper_that_starts_during_a_rotation_tells_of_both_authorities() {
    let setting = mk_setting();
    let token = setting.pod_token("pod", "node-1");
    let both = "-----BEGIN CERTIFICATE-----\nnew\n-----BEGIN CERTIFICATE-----\nold\n";
    setting.ca.store(Some(Arc::new(both.to_owned())));
    assert_eq!(body::<BeatReply>(&setting.beat(&token).await.1).ca.as_deref(), Some(both));
}

#[tokio::test(start_paused = true)]
async fn the_reapers_own_beat_opens_its_ears() {
    let setting = mk_setting();
    assert_eq!(setting.observer.health(), SignalHealth::NotReceiving);
    let (status, _) = setting.beat(&setting.pod_token("reaper", "node-1")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(setting.observer.health(), SignalHealth::Receiving);
}

#[tokio::test(start_paused = true)]
async fn another_pods_beat_does_not_open_them() {
    let setting = mk_setting();
    setting.beat(&setting.pod_token("pod", "node-1")).await;
    assert_eq!(setting.observer.health(), SignalHealth::NotReceiving);
}

/// Every way to be refused for what a token is, as `(token, status, reason)`.
fn refused_tokens(setting: &Setting) -> Vec<(Option<String>, StatusCode, &'static str)> {
    let sign = |claims: Value| Some(setting.signer.sign(&claims));
    let changed = |key: &str, value: Value| {
        let mut claims = in_force(claims("pod", "node-1"));
        claims[key] = value;
        sign(claims)
    };
    let forged = Signer::new("k").sign(&in_force(claims("pod", "node-1")));
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
async fn a_beat_with_a_bad_token_is_refused_and_counted() {
    let setting = mk_setting();
    for (token, status, reason) in refused_tokens(&setting) {
        let got = setting.post(route::BEATS, token.as_deref(), r#"{"beats":[{"seq":0,"phase":"running"}]}"#).await.0;
        assert_eq!(got, status, "{reason}");
        assert_eq!(setting.metrics.beats_refused.total(reason), 1, "{reason}");
    }
    assert_eq!(setting.pod_heard().0, LastBeat::None);
    assert_eq!(setting.metrics.beats.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_report_with_a_bad_token_is_refused_and_counted() {
    let setting = mk_setting();
    let report = serde_json::to_vec(&mk_report(&[("pod", 1)])).expect("plain values");
    for (token, status, reason) in refused_tokens(&setting) {
        let got = setting.post(route::OBSERVATIONS, token.as_deref(), report.clone()).await.0;
        assert_eq!(got, status, "{reason}");
        assert_eq!(setting.metrics.observations_refused.total(reason), 1, "{reason}");
    }
    assert_eq!(setting.pod_heard().1, AgentObservation::None);
}

#[tokio::test(start_paused = true)]
async fn a_good_token_of_a_pod_that_is_gone_is_forbidden() {
    let setting = mk_setting();
    assert_eq!(setting.beat(&setting.pod_token("another", "node-1")).await.0, StatusCode::FORBIDDEN);
    setting.observer.with(|state, now| state.delete_pod(&"pod".into(), now));
    assert_eq!(setting.beat(&setting.pod_token("pod", "node-1")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(setting.metrics.beats_refused.total("unknown_pod"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_made_for_another_node_is_forbidden() {
    let setting = mk_setting();
    assert_eq!(setting.beat(&setting.pod_token("pod", "node-2")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(setting.metrics.beats_refused.total("wrong_node"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_standby_sends_clients_away() {
    let setting = mk_setting();
    setting.observer.stop_listening();
    let request = Request::post(route::BEATS).body(Full::new(Bytes::new())).expect("a request");
    let response = setting.intake.answer(request).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::CONNECTION], "close");
    assert_eq!(
        setting.report(&setting.agent_token("node-1"), &mk_report(&[])).await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(setting.metrics.beats_refused.total("not_leader"), 1);
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
async fn a_body_that_is_no_beat_is_a_bad_request(#[case] text: &str) {
    let setting = mk_setting();
    let token = setting.pod_token("pod", "node-1");
    let (status, _) = setting.post(route::BEATS, Some(&token), text.to_owned()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(setting.metrics.beats_refused.total("body"), 1);
    assert_eq!(setting.pod_heard().0, LastBeat::None);
}

#[tokio::test(start_paused = true)]
async fn an_oversized_body_is_refused() {
    let setting = mk_setting();
    let token = setting.pod_token("pod", "node-1");
    let (status, _) = setting.post(route::BEATS, Some(&token), vec![b' '; MAX_BEATS_BODY + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let agent = setting.agent_token("node-1");
    let (status, _) = setting.post(route::OBSERVATIONS, Some(&agent), vec![b' '; MAX_REPORT_BODY + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(start_paused = true)]
async fn only_the_two_routes_take_posts() {
    let setting = mk_setting();
    assert_eq!(setting.post("/", None, "").await.0, StatusCode::NOT_FOUND);
    let get = Request::get(route::BEATS).body(Full::new(Bytes::new())).expect("a request");
    assert_eq!(setting.answer(get).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(start_paused = true)]
async fn an_agents_report_is_taken_and_answered() {
    let setting = mk_setting();
    let (status, text) = setting.report(&setting.agent_token("node-1"), &mk_report(&[("pod", 2)])).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body::<ReportReply>(&text), ReportReply { next_in_ms: 8_000, pods: vec!["pod".into()], ca: None });
    assert_eq!(setting.pod_heard().1, AgentObservation::Alive { last: setting.observer.now() });
    assert_eq!(setting.metrics.observations.get(), 1);
}

#[rstest]
#[case::a_worker("ort", "default")]
#[case::its_namesake("ort", "jobwarden-agent")]
#[case::a_neighbour("jobwarden-agents", "default")]
#[tokio::test(start_paused = true)]
async fn only_the_agents_account_may_report(#[case] namespace: &str, #[case] account: &str) {
    let setting = mk_setting();
    let token = setting.signer.sign(&in_force(claims_of(namespace, account, "pod", "node-1")));
    assert_eq!(setting.report(&token, &mk_report(&[("pod", 1)])).await.0, StatusCode::FORBIDDEN);
    assert_eq!(setting.metrics.observations_refused.total("not_agent"), 1);
    assert_eq!(setting.pod_heard().1, AgentObservation::None);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_reports_a_pod_of_another_node_is_refused() {
    let setting = mk_setting();
    let token = setting.agent_token("node-2");
    assert_eq!(setting.report(&token, &mk_report(&[("pod", 0)])).await.0, StatusCode::FORBIDDEN);
    assert_eq!(setting.metrics.observations_refused.total("wrong_node"), 1);
    assert_eq!(setting.pod_heard().1, AgentObservation::None);
}

#[tokio::test(start_paused = true)]
async fn an_agents_token_has_to_name_its_node() {
    let setting = mk_setting();
    let mut claims = in_force(claims_of("jobwarden-agents", "jobwarden-agent", "agent-pod", "node-1"));
    claims["kubernetes.io"]["node"] = json!(null);
    let status = setting.report(&setting.signer.sign(&claims), &mk_report(&[("pod", 1)])).await.0;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(setting.metrics.observations_refused.total("no_node"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_report_of_ten_thousand_pods_is_refused() {
    let setting = mk_setting();
    let pods = (0..10_000).map(|i| PodObservation { pod_uid: i.to_string().into(), containers: Vec::new() });
    let report = Report { pods: pods.collect(), ..Report::default() };
    assert_eq!(setting.report(&setting.agent_token("node-1"), &report).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(setting.metrics.observations_refused.total("body"), 1);
}

#[tokio::test(start_paused = true)]
async fn strangers_leave_no_trace() {
    let setting = mk_setting();
    let pods = (0..2000).map(|i| PodObservation { pod_uid: i.to_string().into(), containers: Vec::new() });
    let report = Report { pods: pods.collect(), ..Report::default() };
    for node in 0..50 {
        let node = NodeName::from(format!("made-up-{node}"));
        assert_eq!(setting.report(&setting.agent_token(node.as_str()), &report).await.0, StatusCode::OK);
        setting.beat(&setting.pod_token(&format!("stranger-{node}"), "node-1")).await;
    }
    let known = setting.observer.with(|state, _| (state.jobs(), state.pods(), state.nodes()));
    assert_eq!(known, (1, 1, 1));
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
fn every_metric_has_the_agreed_name() {
    let metrics = Metrics::default();
    metrics.beats_refused.count(&Refusal::MissingToken);
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes all");
    for line in [
        "jobwarden_beats_total 0",
        r#"jobwarden_beats_refused_total{reason="missing_token"} 1"#,
        "jobwarden_observations_total 0",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{text}");
    }
    assert_eq!(TOKEN_AUDIENCE, "jobwarden-reaper");
}
