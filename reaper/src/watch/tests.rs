//! Watches against a mocked API server.

use http::{Request, Response};
use jobwarden_core::{health::SignalHealth, policy::Policy};
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock::{self, Handle};

use super::*;
use jobwarden_common::identity::JobUid;

mod restored;

type ApiServer = Handle<Request<Body>, Response<Body>>;

/// A follower of Jobs; the other watches are up.
fn mk_follower() -> (Follower<Job>, ApiServer, Observer) {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    let observer = Observer::new(Policy::default());
    for watch in [Watch::Pods, Watch::Nodes, Watch::Leases, Watch::Namespaces] {
        observer.watch_listed(watch);
    }
    let api = Api::all(Client::new(service, "default"));
    (Follower::new(api, Some("jobwarden.io/enrolled=true".to_owned()), &observer), handle, observer)
}

/// Answers the next request, which must have these query parameters.
async fn answer(server: &mut ApiServer, expected: &[&str], status: u16, body: String) {
    let (request, send) = server.next_request().await.expect("a request");
    let uri = request.uri().to_string();
    for parameter in expected {
        assert!(uri.contains(parameter), "{uri} has no {parameter}");
    }
    let body = Body::from(body.into_bytes());
    send.send_response(Response::builder().status(status).body(body).expect("a response"));
}

fn job(uid: &str, version: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": uid, "namespace": "ort", "uid": uid, "resourceVersion": version},
        "spec": {"template": {"spec": {"containers": [{"name": "main"}]}}},
    })
}

fn list(version: &str, next: &str, jobs: &[Value]) -> String {
    json!({
        "apiVersion": "batch/v1", "kind": "JobList",
        "metadata": {"resourceVersion": version, "continue": next}, "items": jobs,
    })
    .to_string()
}

fn event(type_: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": type_, "object": object}))
}

fn gone() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"})
}

fn is_gone(observer: &Observer, job: &JobUid) -> bool {
    observer.snapshot(job).expect("the Job is known").gone
}

#[tokio::test(start_paused = true)]
async fn a_list_is_paged_and_the_watch_continues_from_it() {
    let (follower, mut server, observer) = mk_follower();
    let following = tokio::spawn(follower.run());
    let enrolled = "labelSelector=jobwarden.io%2Fenrolled%3Dtrue";
    answer(&mut server, &["limit=", enrolled], 200, list("", "page-2", &[job("a", "3")])).await;
    assert_eq!(observer.health(), SignalHealth::WatchDown);
    answer(&mut server, &["continue=page-2"], 200, list("7", "", &[job("b", "4")])).await;
    let bookmark = json!({"kind": "Job", "apiVersion": "batch/v1", "metadata": {"resourceVersion": "12"}});
    let events = [
        event("ADDED", &job("c", "8")),
        event("DELETED", &job("a", "9")),
        event("DELETED", &job("never seen", "10")),
        event("BOOKMARK", &bookmark),
    ];
    let watch = ["watch=true", "resourceVersion=7", "timeoutSeconds=25", "allowWatchBookmarks=true", enrolled];
    answer(&mut server, &watch, 200, events.concat()).await;
    // The next watch starts from the resourceVersion of the bookmark.
    answer(&mut server, &["watch=true", "resourceVersion=12"], 200, String::new()).await;
    assert_eq!(observer.jobs(), 3);
    assert!(is_gone(&observer, &"a".into()) && !is_gone(&observer, &"c".into()));
    assert_eq!(observer.health(), SignalHealth::Receiving);
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn after_410_everything_is_listed_again_and_missing_jobs_are_gone() {
    let (follower, mut server, observer) = mk_follower();
    let following = tokio::spawn(follower.run());
    answer(&mut server, &["limit="], 200, list("7", "", &[job("a", "3"), job("b", "4")])).await;
    answer(&mut server, &["resourceVersion=7"], 200, event("ERROR", &gone())).await;
    answer(&mut server, &["limit="], 200, list("20", "", &[job("b", "4")])).await;
    answer(&mut server, &["resourceVersion=20"], 410, gone().to_string()).await;
    answer(&mut server, &["limit="], 200, list("30", "", &[job("b", "4")])).await;
    answer(&mut server, &["resourceVersion=30"], 200, String::new()).await;
    assert!(is_gone(&observer, &"a".into()) && !is_gone(&observer, &"b".into()));
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn health_is_watch_down_until_the_api_server_is_back() {
    let (follower, mut server, observer) = mk_follower();
    let following = tokio::spawn(follower.run());
    answer(&mut server, &["limit="], 200, list("7", "", &[])).await;
    answer(&mut server, &["resourceVersion=7"], 503, "shutting down".to_owned()).await;
    // Before the watch resumes, a list of one object shows whether the history is still the same.
    answer(&mut server, &["limit=1"], 200, list("7", "", &[])).await;
    let (request, send) = server.next_request().await.expect("another attempt");
    assert_eq!(observer.health(), SignalHealth::WatchDown);
    // The watch resumes from the last resourceVersion, without a list.
    assert!(request.uri().to_string().contains("resourceVersion=7"));
    send.send_response(Response::new(Body::from(event("ADDED", &job("a", "8")).into_bytes())));
    answer(&mut server, &["resourceVersion=8"], 200, String::new()).await;
    assert_eq!(observer.health(), SignalHealth::Receiving);
    assert_eq!(observer.jobs(), 1);
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_a_response_times_out_and_is_retried() {
    let (follower, mut server, observer) = mk_follower();
    let following = tokio::spawn(follower.run());
    answer(&mut server, &["limit="], 200, list("7", "", &[])).await;
    let (_request, unanswered) = server.next_request().await.expect("a watch");
    assert_eq!(observer.health(), SignalHealth::Receiving);
    // The follower abandons the unanswered watch and starts another one.
    let (_request, _send) = server.next_request().await.expect("another watch");
    assert_eq!(observer.health(), SignalHealth::WatchDown);
    drop(unanswered);
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn without_the_watch_each_interval_a_list_shows_what_has_changed_and_what_is_gone() {
    let (follower, mut server, observer) = mk_follower();
    let schedule = Schedule::new(false, Some(Duration::from_mins(2))).expect("it lists");
    let following = tokio::spawn(follower.by(schedule).run());
    answer(&mut server, &["limit="], 200, list("7", "", &[job("a", "3"), job("b", "4")])).await;
    let started = Instant::now();
    // The next request is a list again, and not a watch.
    answer(&mut server, &["limit="], 200, list("9", "", &[job("b", "4"), job("c", "8")])).await;
    assert!(started.elapsed() >= Duration::from_mins(2));
    let (request, send) = server.next_request().await.expect("a request");
    assert!(!request.uri().to_string().contains("watch="));
    assert!(is_gone(&observer, &"a".into()) && !is_gone(&observer, &"b".into()) && !is_gone(&observer, &"c".into()));
    assert_eq!(observer.health(), SignalHealth::Receiving, "between two lists nothing is missing");
    send.send_response(Response::builder().status(500).body(Body::empty()).expect("a response"));
    let failed = Instant::now();
    let (_, send) = server.next_request().await.expect("a request");
    assert!(failed.elapsed() <= MAX_PAUSE, "a list that fails is repeated soon");
    assert_eq!(observer.health(), SignalHealth::WatchDown);
    send.send_response(Response::new(Body::from(list("10", "", &[job("c", "8")]).into_bytes())));
    server.next_request().await.expect("a request");
    assert_eq!(observer.health(), SignalHealth::Receiving);
    following.abort();
}
