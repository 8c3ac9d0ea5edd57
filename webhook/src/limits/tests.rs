//! The watcher against an API server with scripted responses.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use futures::{Stream, channel::mpsc};
use http::{Request, Response, StatusCode};
use http_body_util::StreamBody;
use hyper::body::Frame;
use kube::client::Body;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;

/// Longer than every backoff; time is paused, so waiting takes no time.
const TIMEOUT: Duration = Duration::from_mins(5);

/// The lines of one response; it continues for as long as there is a sender.
type Lines = mpsc::UnboundedReceiver<Value>;

/// An API server that gives these responses, one after the other, and then none.
fn api_server(answers: impl IntoIterator<Item = (&'static str, StatusCode, Lines)>) -> Client {
    let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        async move {
            let Some((what, status, lines)) = answer else { return std::future::pending().await };
            assert_eq!(request.uri().path(), "/api/v1/limitranges");
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            assert_eq!(if is_watch { "watch" } else { "list" }, what);
            let mut response = Response::new(StreamBody::new(frames(lines)));
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    });
    Client::new(service, "default")
}

fn frames(lines: Lines) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    lines.map(|line| Ok(Frame::data(Bytes::from(format!("{line}\n")))))
}

/// A complete response.
fn whole(answer: Value) -> Lines {
    let (sender, lines) = mpsc::unbounded();
    sender.unbounded_send(answer).expect("the receiver is there");
    lines
}

fn list(items: &[Value]) -> (&'static str, StatusCode, Lines) {
    let list = json!({
        "apiVersion": "v1", "kind": "LimitRangeList", "metadata": {"resourceVersion": "1"}, "items": items,
    });
    ("list", StatusCode::OK, whole(list))
}

fn forbidden() -> (&'static str, StatusCode, Lines) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no", "reason": "Forbidden",
        "code": 403,
    });
    ("list", StatusCode::FORBIDDEN, whole(status))
}

fn limit_range(namespace: &str, name: &str, limits: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"namespace": namespace, "name": name, "resourceVersion": "1"},
        "spec": {"limits": limits},
    })
}

fn least(namespace: &str, name: &str, memory: &str) -> Value {
    limit_range(namespace, name, &json!([{"type": "Container", "min": {"memory": memory}}]))
}

fn bound(limit_range: &str, resource: Resource, side: Side, quantity: &str) -> Bound {
    let quantity = quantity.parse().expect("a quantity");
    Bound { limit_range: limit_range.to_owned(), scope: Scope::Container, resource, side, quantity }
}

/// Waits until the cache has the expected lower bound of memory, by the `LimitRange` of that name, for the namespace "work".
async fn wait_for(cache: &mut watch::Receiver<Namespaces<Bound>>, expected: Option<(&str, &str)>) {
    let expected = expected.map(|(name, memory)| [bound(name, Resource::Memory, Side::Min, memory)]);
    let wanted = |cache: &Namespaces<Bound>| cache.get("work").map(|it| &**it) == expected.as_ref().map(|it| &it[..]);
    let found = timeout(TIMEOUT, cache.wait_for(wanted)).await;
    drop(found.expect("the cache is updated in time").expect("the watcher runs"));
}

#[tokio::test(start_paused = true)]
async fn the_cache_follows_the_cluster_and_is_cleared_with_the_watch() {
    let (watch, lines) = mpsc::unbounded();
    let event = |kind: &str, object: Value| {
        watch.unbounded_send(json!({"type": kind, "object": object})).expect("the watcher runs");
    };
    let client = api_server([
        forbidden(),
        list(&[least("work", "a", "32Mi"), least("play", "a", "1Gi")]),
        ("watch", StatusCode::OK, lines),
        forbidden(),
        list(&[least("work", "c", "16Mi")]),
    ]);
    let (watcher, mut cache) = Watcher::<LimitRange>::new();
    let shutdown = Shutdown::manual();
    let watching = tokio::spawn(watcher.run(client, shutdown.clone()));
    assert!(cache.borrow().is_empty());

    wait_for(&mut cache, Some(("a", "32Mi"))).await;
    event("ADDED", least("work", "b", "64Mi"));
    wait_for(&mut cache, Some(("b", "64Mi"))).await;
    event("MODIFIED", least("work", "b", "8Mi"));
    wait_for(&mut cache, Some(("a", "32Mi"))).await;
    event("DELETED", least("work", "a", "32Mi"));
    wait_for(&mut cache, Some(("b", "8Mi"))).await;
    event("MODIFIED", limit_range("work", "b", &json!([{"type": "PersistentVolumeClaim", "min": {"storage": "8Mi"}}])));
    wait_for(&mut cache, None).await;
    assert!(cache.borrow().contains_key("play"));

    event(
        "ERROR",
        json!({"kind": "Status", "status": "Failure", "message": "too old", "reason": "Expired", "code": 410}),
    );
    timeout(TIMEOUT, cache.wait_for(BTreeMap::is_empty)).await.expect("in time").expect("the watcher runs");
    wait_for(&mut cache, Some(("c", "16Mi"))).await;
    assert!(!cache.borrow().contains_key("play"));

    shutdown.trigger();
    watching.await.expect("it ends");
}

#[rstest]
#[case::both_sides(
    json!([{"type": "Container", "min": {"cpu": "5m"}, "max": {"cpu": "1", "memory": "1Gi"}}]),
    vec![
        bound("a", Resource::Cpu, Side::Min, "5m"),
        bound("a", Resource::Cpu, Side::Max, "1"),
        bound("a", Resource::Memory, Side::Max, "1Gi"),
    ]
)]
#[case::two_items(
    json!([{"type": "Container", "min": {"memory": "1Gi"}}, {"type": "Container", "max": {"memory": "2Gi"}}]),
    vec![bound("a", Resource::Memory, Side::Min, "1Gi"), bound("a", Resource::Memory, Side::Max, "2Gi")]
)]
#[case::pods(
    json!([{"type": "Pod", "max": {"cpu": "1"}}]),
    vec![Bound { scope: Scope::Pod, ..bound("a", Resource::Cpu, Side::Max, "1") }]
)]
#[case::other_types(json!([{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}}]), vec![])]
#[case::storage(
    json!([{"type": "Container", "max": {"ephemeral-storage": "1Gi"}}]),
    vec![bound("a", Resource::EphemeralStorage, Side::Max, "1Gi")]
)]
#[case::other_resources(json!([{"type": "Container", "max": {"nvidia.com/gpu": "1"}}]), vec![])]
#[case::defaults(json!([{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}}]), vec![])]
#[case::ratios(json!([{"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}]), vec![])]
#[case::zero(json!([{"type": "Container", "min": {"cpu": "0"}}]), vec![])]
fn the_bounds_of_containers_and_pods_are_read(#[case] limits: Value, #[case] expected: Vec<Bound>) {
    let range = serde_json::from_value(limit_range("work", "a", &limits)).expect("a LimitRange");
    assert_eq!(bounds(&range), expected);
}

#[rstest]
#[case::hard_and_used(
    json!({"hard": {"requests.cpu": "2", "pods": "5"}}), json!({"used": {"requests.cpu": "500m", "pods": "1"}}), &[("requests.cpu", "2", 0.5)]
)]
#[case::no_status(json!({"hard": {"limits.memory": "1Gi"}}), json!(null), &[("limits.memory", "1Gi", 0.0)])]
#[case::scoped(json!({"hard": {"requests.cpu": "2"}, "scopes": ["NotBestEffort"]}), json!(null), &[])]
fn the_bounds_of_quotas_without_scopes_are_read(
    #[case] spec: Value,
    #[case] status: Value,
    #[case] expected: &[(&str, &str, f64)],
) {
    let quota = json!({"metadata": {"name": "team"}, "spec": spec, "status": status});
    let quota = serde_json::from_value(quota).expect("a ResourceQuota");
    let expected = expected.iter().map(|(key, hard, used)| Quota {
        name: "team".to_owned(),
        key: (*key).to_owned(),
        hard: hard.parse().expect("a quantity"),
        used: *used,
    });
    assert_eq!(quotas(&quota), expected.collect::<Vec<_>>());
}
