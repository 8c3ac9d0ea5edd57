//! Whole HTTP requests.

use std::time::Duration;

use base64_simd::STANDARD;
use http_body_util::BodyExt as _;
use jobwarden_inject::{
    config::IdentityConfig,
    identity::Rules,
    patch::{
        limits::{Bound, Resource, Scope, Side, strictest},
        on_failure::OnFailure,
        sidecar::{PullPolicy, Sidecar},
    },
};
use prometheus_client::registry::Registry;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

const MAX_BODY: usize = 64 * 1024;

struct Server {
    admission: Admission,
    registry: Registry,
    _reaper: watch::Sender<Option<Arc<Endpoint>>>,
}

fn server_with(reaper: Option<Endpoint>) -> Server {
    let settings = Settings {
        rules: Rules::new(IdentityConfig::default()),
        finalizer: false,
        unreachable_grace: Duration::from_hours(1),
        on_failure: OnFailure::Auto,
        sidecar: Sidecar {
            image: "sidecar".to_owned(),
            pull_policy: PullPolicy::Always,
            image_pull_secrets: Vec::new(),
            cpu: "10m".parse().expect("a quantity"),
            memory: "16Mi".parse().expect("a quantity"),
            namespaces: std::collections::BTreeMap::new(),
            limits: patch::size_limits::SizeLimits::default(),
            beat_interval: Duration::from_secs(10),
        },
    };
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (sender, receiver) = watch::channel(reaper.map(Arc::new));
    let held = Limits { max_body: MAX_BODY, ..Limits::default() };
    Server {
        admission: Admission::new(
            watch::channel(Arc::new(settings)).1,
            receiver,
            LimitRanges::fixed([]),
            metrics,
            held,
        ),
        registry,
        _reaper: sender,
    }
}

fn server() -> Server {
    let ip = "10.96.0.7".parse().expect("an address");
    server_with(Some(Endpoint::new(ip, "jobwarden", "CA".to_owned())))
}

impl Server {
    async fn post(&self, path: &str, body: impl Into<Bytes>) -> (StatusCode, String) {
        self.send(Method::POST, path, body).await
    }

    async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(Full::new(body.into())).expect("a request");
        let response = self.admission.respond(request).await;
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body in memory").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    /// The `response` of the answer to a review.
    async fn review(&self, path: &str, review: &Value) -> Value {
        let (status, body) = self.post(path, review.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(
            (&answer["apiVersion"], &answer["kind"]),
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
        );
        assert_eq!(answer["response"]["uid"], "u-1");
        answer["response"].clone()
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("encodes");
        text
    }
}

fn review(kind: Kind, object: &Value) -> Value {
    let [group, version, resource] = kind.resource();
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "operation": "CREATE", "dryRun": false, "namespace": "work", "userInfo": {"username": "u"},
            "kind": {"group": group, "version": version, "kind": kind.as_str()},
            "resource": {"group": group, "version": version, "resource": resource},
            "object": object, "oldObject": null, "options": {"kind": "CreateOptions"},
        },
    })
}

fn pod() -> Value {
    json!({
        "metadata": {"generateName": "sum-", "labels": {"jobwarden.io/inject": "true"}},
        "spec": {"containers": [{"name": "main"}]},
    })
}

fn job() -> Value {
    json!({"metadata": {"name": "sum"}, "spec": {"template": {"spec": {"containers": [{"name": "main"}]}}}})
}

/// `object` as the API server makes it of the response.
fn patched(object: &Value, response: &Value) -> Value {
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = STANDARD.decode_to_vec(response["patch"].as_str().expect("a patch")).expect("base64");
    let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a JSON patch");
    let mut object = object.clone();
    json_patch::patch(&mut object, &patch).expect("applies");
    object
}

#[tokio::test]
async fn a_pod_gets_its_sidecar() {
    let server = server();
    let response = server.review("/mutate/pods", &review(Kind::Pod, &pod())).await;
    assert_eq!(response["allowed"], true);
    assert_eq!(patched(&pod(), &response)["spec"]["initContainers"][0]["name"], "jobwarden-heartbeat");
    let metrics = server.metrics();
    let counted = "jobwarden_admission_requests_total{kind=\"Pod\",outcome=\"injected\",reason=\"\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("jobwarden_admission_duration_seconds_count{kind=\"Pod\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_job_is_labelled() {
    let response = server().review("/mutate/jobs", &review(Kind::Job, &job())).await;
    assert_eq!(response["allowed"], true);
    assert_eq!(patched(&job(), &response)["metadata"]["labels"], json!({"jobwarden.io/enrolled": "true"}));
}

#[rstest]
#[case::update("/request/operation", json!("UPDATE"), "not_created")]
#[case::deletion("/request/object", json!(null), "not_created")]
#[case::subresource("/request/subResource", json!("status"), "other_resource")]
#[case::other_resource("/request/resource/resource", json!("cronjobs"), "other_resource")]
#[case::opted_out("/request/object/metadata/labels", json!({"jobwarden.io/inject": "false"}), "opted_out")]
#[tokio::test]
async fn objects_that_are_not_admitted_pass_unchanged(
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] reason: &str,
) {
    let mut review = review(Kind::Pod, &pod());
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    review.pointer_mut(parent).expect("its parent exists")[key] = value;
    let server = server();
    assert_eq!(server.review("/mutate/pods", &review).await, json!({"uid": "u-1", "allowed": true}));
    let counted = format!("{{kind=\"Pod\",outcome=\"skipped\",reason=\"{reason}\"}} 1");
    assert!(server.metrics().contains(&counted), "{}", server.metrics());
}

#[tokio::test]
async fn an_invalid_override_is_a_warning() {
    let mut job = job();
    job["metadata"]["annotations"] = json!({"jobwarden.io/lost-after": "soon"});
    let response = server().review("/mutate/jobs", &review(Kind::Job, &job)).await;
    assert_eq!(response["allowed"], true);
    assert_eq!(response["warnings"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_container_with_the_name_of_the_sidecar_is_denied_with_advice() {
    let mut pod = pod();
    pod["spec"]["containers"][0]["name"] = json!("jobwarden-heartbeat");
    let server = server();
    let response = server.review("/mutate/pods", &review(Kind::Pod, &pod)).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(422)));
    assert!(
        response["status"]["message"].as_str().is_some_and(|text| text.contains("rename the container")),
        "{response}"
    );
    assert!(server.metrics().contains("outcome=\"denied\""));
}

#[rstest]
#[case::too_small("work", "8Mi", true)]
#[case::large_enough("work", "16Mi", false)]
#[case::elsewhere("elsewhere", "8Mi", false)]
#[tokio::test]
async fn a_pod_without_room_for_the_sidecar_is_left_without_it(
    #[case] namespace: &str,
    #[case] most: &str,
    #[case] left_out: bool,
) {
    let quantity = most.parse().expect("a quantity");
    let limit_range = "ceiling".to_owned();
    let bound = Bound { limit_range, scope: Scope::Container, resource: Resource::Memory, side: Side::Max, quantity };
    let mut server = server();
    server.admission.limits = LimitRanges::fixed([(namespace.to_owned(), strictest([bound]))]);

    let response = server.review("/mutate/pods", &review(Kind::Pod, &pod())).await;
    assert_eq!(response["allowed"], true);
    let after = patched(&pod(), &response);
    assert_eq!(after["spec"]["initContainers"].is_null(), left_out, "{after}");
    assert_eq!(after["metadata"]["labels"]["jobwarden.io/enrolled"], "true");
    let outcome = "{kind=\"Pod\",outcome=\"without_sidecar\",reason=\"LimitRange\"} 1";
    assert_eq!(server.metrics().contains(outcome), left_out, "{}", server.metrics());

    // The creator of the Job sees a warning.
    let response = server.review("/mutate/jobs", &review(Kind::Job, &job())).await;
    assert_eq!(response["allowed"], true);
    let warned = response["warnings"][0].as_str().is_some_and(|text| text.contains("LimitRange \"ceiling\""));
    assert_eq!(warned, left_out, "{response}");
}

#[rstest]
// Many clients do not retry the creation of a Job; the Job controller retries that of a pod.
#[case(Kind::Job, "/mutate/jobs", true)]
#[case(Kind::Pod, "/mutate/pods", false)]
#[tokio::test]
async fn an_object_that_cannot_be_parsed_gets_a_response_with_the_reason(
    #[case] kind: Kind,
    #[case] path: &str,
    #[case] allowed: bool,
) {
    let server = server();
    let response = server.review(path, &review(kind, &json!({"metadata": {"labels": {"a": 1}}}))).await;
    assert_eq!(response["allowed"], allowed);
    let said = if allowed { &response["warnings"][0] } else { &response["status"]["message"] };
    assert!(said.as_str().is_some_and(|text| text.contains("cannot parse this")), "{response}");
    assert!(server.metrics().contains("outcome=\"malformed\""));
}

#[rstest]
#[case::not_json("nonsense", "not an AdmissionReview")]
#[case::not_utf_8(&b"\xff\xfe"[..], "not an AdmissionReview")]
#[case::empty("", "not an AdmissionReview")]
#[case::too_deep("[".repeat(10_000), "not an AdmissionReview")]
#[case::another_kind(
    r#"{"apiVersion":"v1","kind":"Pod","metadata":{}}"#,
    "expected admission.k8s.io/v1 AdmissionReview"
)]
#[case::another_version(
    r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"u-1"}}"#,
    "expected admission.k8s.io/v1 AdmissionReview"
)]
#[case::no_request(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#, "no request with a uid")]
#[case::no_uid(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":7}}"#,
    "no request with a uid"
)]
#[tokio::test]
async fn a_body_that_is_not_a_review_is_rejected(#[case] body: impl Into<Bytes>, #[case] text: &str) {
    let (status, answer) = server().post("/mutate/jobs", body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(answer.contains(text), "{answer}");
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let mut review = review(Kind::Pod, &pod());
    review["request"]["newField"] = json!({"deep": [1, 2]});
    review["request"]["object"]["spec"]["newField"] = json!(["x"]);
    assert_eq!(server().review("/mutate/pods", &review).await["allowed"], true);
}

#[rstest]
#[case(Method::POST, "/", StatusCode::NOT_FOUND)]
#[case(Method::POST, "/mutate/jobs/", StatusCode::NOT_FOUND)]
#[case(Method::GET, "/mutate/jobs", StatusCode::METHOD_NOT_ALLOWED)]
#[case(Method::PUT, "/mutate/pods", StatusCode::METHOD_NOT_ALLOWED)]
#[tokio::test]
async fn only_posts_to_the_two_paths_are_answered(
    #[case] method: Method,
    #[case] path: &str,
    #[case] status: StatusCode,
) {
    assert_eq!(server().send(method, path, "").await.0, status);
}

#[tokio::test]
async fn a_body_above_the_limit_is_rejected() {
    let (status, _) = server().post("/mutate/pods", vec![b' '; MAX_BODY + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn pods_are_not_admitted_before_the_reaper_endpoint_is_known_and_jobs_are() {
    let server = server_with(None);
    let (status, _) = server.post("/mutate/pods", review(Kind::Pod, &pod()).to_string()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(server.review("/mutate/jobs", &review(Kind::Job, &job())).await["allowed"], true);
}
