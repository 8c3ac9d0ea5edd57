//! An API server in memory that has outcomes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::{Client, api::DynamicObject, client::Body};
use serde_json::{Value, json};

use super::{object::Outcome, outbox::Outbox};

const COLLECTION: &str = "/apis/jobwarden.io/v1alpha1/namespaces/jobwarden/joboutcomes";
/// The most objects in one page, whatever limit a request has, so that a few objects make several pages.
const PAGE: usize = 2;

/// The outcomes of the fixture, as the API server returns them.
pub(super) fn objects() -> Vec<Value> {
    serde_json::from_str(include_str!("../../tests/fixtures/outcomes.json")).expect("a list of objects")
}

/// The same as they are read.
pub(super) fn outcomes() -> Vec<Outcome> {
    objects().into_iter().map(outcome).collect()
}

/// An object as it is read.
pub(super) fn outcome(object: Value) -> Outcome {
    let object: DynamicObject = serde_json::from_value(object).expect("an object");
    Outcome::read(object).expect("an outcome")
}

/// Clones are the same server.
#[derive(Clone, Default)]
pub(super) struct ApiServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    /// The methods that are forbidden.
    forbidden: Vec<Method>,
    /// Another client's change to the objects, made right before the first patch.
    concurrent: Option<Change>,
    /// The method, path and query of every request.
    requests: Vec<String>,
}

type Change = Box<dyn FnOnce(&mut BTreeMap<String, Value>) + Send>;

impl ApiServer {
    /// With the outcomes of the fixture.
    pub(super) fn filled() -> Self {
        let server = Self::default();
        let named =
            objects().into_iter().map(|it| (it["metadata"]["name"].as_str().unwrap_or_default().to_owned(), it));
        server.with(|state| state.objects.extend(named));
        server
    }

    pub(super) fn outbox(&self) -> Outbox {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
                let (status, answer) = server.with(|state| state.answer(&head.method, path, query, &body));
                let body = Body::from(answer.to_string().into_bytes());
                Response::builder().status(status).body(body).map_err(|error| error.to_string())
            }
        });
        Outbox::new(Client::new(service, "default"), "jobwarden")
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn forbid(&self, method: Method) {
        self.with(|state| state.forbidden.push(method));
    }

    pub(super) fn before_the_first_patch(&self, change: impl FnOnce(&mut BTreeMap<String, Value>) + Send + 'static) {
        self.with(|state| state.concurrent = Some(Box::new(change)));
    }

    pub(super) fn status(&self, name: &str) -> Value {
        self.with(|state| state.objects[name]["status"].clone())
    }

    /// The requests that were made with this method.
    pub(super) fn requests(&self, method: &Method) -> Vec<String> {
        let of_method = |request: &&String| request.starts_with(method.as_str());
        self.with(|state| state.requests.iter().filter(of_method).cloned().collect())
    }
}

impl State {
    fn answer(&mut self, method: &Method, path: &str, query: &str, body: &Value) -> (u16, Value) {
        self.requests.push(format!("{method} {path}?{query}"));
        if self.forbidden.contains(method) {
            return failure(403, "Forbidden");
        }
        let Some(name) = path.strip_prefix(COLLECTION) else { return failure(404, "NotFound") };
        if name.is_empty() {
            return self.page(query);
        }
        let name = name.trim_start_matches('/');
        match *method {
            Method::GET => self.objects.get(name).map_or_else(|| failure(404, "NotFound"), |it| (200, it.clone())),
            Method::PATCH => self.patch(name.trim_end_matches("/status"), query, body),
            _ => failure(405, "MethodNotAllowed"),
        }
    }

    /// A page of the list; the token is the number of objects before it.
    fn page(&self, query: &str) -> (u16, Value) {
        assert!(query.contains("limit="), "a list is read in pages: {query}");
        let token = query.split('&').find_map(|part| part.strip_prefix("continue="));
        let before: usize = token.and_then(|token| token.parse().ok()).unwrap_or(0);
        let items: Vec<_> = self.objects.values().skip(before).take(PAGE).collect();
        let next = if before + PAGE < self.objects.len() { (before + PAGE).to_string() } else { String::new() };
        let list = json!({
            "kind": "JobOutcomeList", "apiVersion": "jobwarden.io/v1alpha1", "metadata": { "continue": next }, "items": items,
        });
        (200, list)
    }

    fn patch(&mut self, name: &str, query: &str, body: &Value) -> (u16, Value) {
        if let Some(concurrent) = self.concurrent.take() {
            concurrent(&mut self.objects);
        }
        let Some(object) = self.objects.get_mut(name) else { return failure(404, "NotFound") };
        if body["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return failure(409, "Conflict");
        }
        let mut patched = object.clone();
        json_patch::merge(&mut patched, body);
        if !query.contains("dryRun=All") {
            *object = patched.clone();
        }
        (200, patched)
    }
}

fn failure(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "message": reason, "code": code,
    });
    (code, status)
}
