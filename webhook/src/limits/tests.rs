//! The follower against an API server whose answers the tests dictate.

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

/// Longer than every pause of the follower; time is paused, so it costs nothing.
const PATIENCE: Duration = Duration::from_mins(5);

/// The lines of one answer; it goes on for as long as somebody may add some.
type Lines = mpsc::UnboundedReceiver<Value>;

/// An API server that gives these answers, one after the other, and then none at all.
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

/// An answer that is complete.
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
    Bound { limit_range: limit_range.to_owned(), resource, side, quantity }
}

/// Waits until `known` has for the namespace "work" a least memory of `memory` by the `LimitRange` `name`, or nothing.
async fn comes_to_know(known: &mut Known, expected: Option<(&str, &str)>) {
    let expected =
        expected.map(|(name, memory)| [bound(name, Resource::Memory, Side::Min, memory)].into_iter().collect());
    let wanted = |known: &Namespaces| known.get("work").map(Arc::as_ref) == expected.as_ref();
    let known = timeout(PATIENCE, known.0.wait_for(wanted)).await;
    drop(known.expect("it becomes known in time").expect("the follower is at work"));
}

#[tokio::test(start_paused = true)]
async fn what_is_known_follows_the_cluster_and_is_forgotten_with_the_watch() {
    let (watch, lines) = mpsc::unbounded();
    let event = |kind: &str, object: Value| {
        watch.unbounded_send(json!({"type": kind, "object": object})).expect("the follower watches");
    };
    let client = api_server([
        forbidden(),
        list(&[least("work", "a", "32Mi"), least("play", "a", "1Gi")]),
        ("watch", StatusCode::OK, lines),
        forbidden(),
        list(&[least("work", "c", "16Mi")]),
    ]);
    let (follower, mut known) = Follower::new();
    let shutdown = Shutdown::manual();
    let following = tokio::spawn(follower.run(client, shutdown.clone()));
    assert_eq!(known.of("work"), None);

    comes_to_know(&mut known, Some(("a", "32Mi"))).await;
    event("ADDED", least("work", "b", "64Mi"));
    comes_to_know(&mut known, Some(("b", "64Mi"))).await;
    event("MODIFIED", least("work", "b", "8Mi"));
    comes_to_know(&mut known, Some(("a", "32Mi"))).await;
    event("DELETED", least("work", "a", "32Mi"));
    comes_to_know(&mut known, Some(("b", "8Mi"))).await;
    event("MODIFIED", limit_range("work", "b", &json!([{"type": "Pod", "min": {"memory": "8Mi"}}])));
    comes_to_know(&mut known, None).await;
    assert!(known.of("play").is_some());

    event(
        "ERROR",
        json!({"kind": "Status", "status": "Failure", "message": "too old", "reason": "Expired", "code": 410}),
    );
    timeout(PATIENCE, known.0.wait_for(BTreeMap::is_empty)).await.expect("in time").expect("the follower is at work");
    comes_to_know(&mut known, Some(("c", "16Mi"))).await;
    assert_eq!(known.of("play"), None);

    shutdown.trigger();
    following.await.expect("it ends");
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
#[case::other_types(
    json!([{"type": "Pod", "max": {"cpu": "1"}}, {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}}]),
    vec![]
)]
#[case::other_resources(json!([{"type": "Container", "max": {"ephemeral-storage": "1Gi"}}]), vec![])]
#[case::defaults(json!([{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}}]), vec![])]
#[case::ratios(json!([{"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}]), vec![])]
#[case::zero(json!([{"type": "Container", "min": {"cpu": "0"}}]), vec![])]
fn bounds_are_those_of_one_container(#[case] limits: Value, #[case] expected: Vec<Bound>) {
    let range = serde_json::from_value(limit_range("work", "a", &limits)).expect("a LimitRange");
    assert_eq!(bounds(&range), expected);
}
