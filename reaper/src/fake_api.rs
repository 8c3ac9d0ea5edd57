//! An API server in memory, complete enough for execution and delivery: objects with UIDs and resourceVersions, patches,
//! preconditions, graceful deletion and finalizers. Tests check the resulting objects, not the requests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// The collections that support lists.
const COLLECTIONS: [&str; 3] = ["/jobs", "/pods", "/events"];

/// An API server in memory. Clones share the same objects.
#[derive(Clone, Default)]
pub(crate) struct FakeApi {
    state: Arc<Mutex<State>>,
    crashed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// By path, such as `/apis/batch/v1/namespaces/ort/jobs/j`.
    objects: BTreeMap<String, Value>,
    version: u64,
    writes: Vec<String>,
    /// The number of the write that fails, and how it fails.
    fail: Option<(usize, Failure)>,
    /// The answers to requests for logs, by the path of the pod.
    logs: BTreeMap<String, LogAnswer>,
    /// The queries of the requests for logs.
    log_queries: Vec<String>,
    /// Applied to the objects right after the write with this number.
    after: Option<(usize, ConcurrentWrite)>,
}

/// A write of another client.
type ConcurrentWrite = Box<dyn FnOnce(&mut BTreeMap<String, Value>) + Send>;

/// What the API server answers where a log is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogAnswer {
    /// The log.
    Text(Vec<u8>),
    /// An error with this status.
    Error(u16),
    /// Nothing, ever: the kubelet does not answer.
    Hang,
}

/// How a write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The write is not applied.
    Before,
    /// The write is applied, but its response is lost.
    After,
    /// A policy refuses the write.
    Refused,
    /// The write is applied twice, as by a proxy that repeats it; the second response counts.
    Twice,
    /// The client crashes before the write is applied: [`FakeApi::crashed`].
    CrashBefore,
    /// The client crashes after the write is applied, before it gets the response.
    CrashAfter,
}

impl FakeApi {
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
                let body =
                    if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap_or_default() };
                let kind = head.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
                let path = head.uri.path();
                if let Some(pod) = path.strip_suffix("/log") {
                    let answer = api.state().log(pod, head.uri.query().unwrap_or_default());
                    return Ok(answered(answer).await);
                }
                let served = match (&head.method, head.uri.query()) {
                    (&Method::GET, Some(query)) if COLLECTIONS.iter().any(|kind| path.ends_with(kind)) => {
                        Some(api.state().list(path, query))
                    }
                    _ => api.state().serve(&head.method, path, kind, &body),
                };
                let Some((status, answer)) = served else {
                    api.crashed.notify_one();
                    return std::future::pending().await;
                };
                let bytes = serde_json::to_vec(&answer).expect("JSON");
                Ok::<_, String>(Response::builder().status(status).body(Body::from(bytes)).expect("a valid response"))
            }
        });
        Client::new(service, "default")
    }

    /// Stores an object. Generates a UID if the object has none.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version.to_string();
        let name = path.rsplit('/').next().expect("a path has a name");
        object["metadata"]["name"] = json!(name);
        object["metadata"]["resourceVersion"] = json!(version);
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("{name}-uid"));
        }
        state.objects.insert(path.to_owned(), object);
    }

    /// Sets what is answered where the log of the pod at `path` is asked for.
    pub(crate) fn put_log(&self, path: &str, answer: LogAnswer) {
        self.state().logs.insert(path.to_owned(), answer);
    }

    /// The queries of the requests for logs so far.
    pub(crate) fn log_queries(&self) -> Vec<String> {
        self.state().log_queries.clone()
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state().objects.remove(path);
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.state().objects.get(path).cloned()
    }

    /// The paths of all objects whose path contains `part`.
    pub(crate) fn paths(&self, part: &str) -> Vec<String> {
        self.state().objects.keys().filter(|path| path.contains(part)).cloned().collect()
    }

    /// The writes requested so far, as `METHOD path`.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.state().writes.clone()
    }

    /// Makes the write with this number fail, counted from 0 from now on.
    pub(crate) fn fail(&self, write: usize, failure: Failure) {
        let mut state = self.state();
        state.writes.clear();
        state.fail = Some((write, failure));
    }

    /// Applies `change` right after the write with this number, counted from 0 from now on.
    pub(crate) fn after(&self, write: usize, change: impl FnOnce(&mut BTreeMap<String, Value>) + Send + 'static) {
        let mut state = self.state();
        state.writes.clear();
        state.after = Some((write, Box::new(change)));
    }

    /// The objects without the values that differ from run to run.
    pub(crate) fn snapshot(&self) -> BTreeMap<String, Value> {
        let mut objects = self.state().objects.clone();
        for object in objects.values_mut() {
            object["metadata"]["resourceVersion"] = Value::Null;
            for condition in object["status"]["conditions"].as_array_mut().into_iter().flatten() {
                condition["lastTransitionTime"] = Value::Null;
                condition["lastProbeTime"] = Value::Null;
            }
        }
        objects
    }

    /// Waits until the client has crashed, which is for the caller to carry out.
    pub(crate) async fn crashed(&self) {
        self.crashed.notified().await;
    }

    /// Whether the failure that was asked for has happened, or none was.
    pub(crate) fn has_failed(&self) -> bool {
        let state = self.state();
        state.fail.is_none_or(|(at, _)| state.writes.len() > at)
    }

    /// A number that grows with every change.
    pub(crate) fn version(&self) -> u64 {
        self.state().version
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The response, or none if the client crashes.
    fn serve(&mut self, method: &Method, path: &str, kind: &str, body: &Value) -> Option<(StatusCode, Value)> {
        if method == Method::GET {
            return Some(self.objects.get(path).map_or_else(not_found, |object| (StatusCode::OK, object.clone())));
        }
        let number = self.writes.len();
        self.writes.push(format!("{method} {path}"));
        let fail = self.fail.filter(|(at, _)| *at == number).map(|(_, failure)| failure);
        match fail {
            Some(Failure::Before) => return Some(unavailable()),
            Some(Failure::Refused) => return Some(status(StatusCode::FORBIDDEN, "Forbidden")),
            Some(Failure::CrashBefore) => return None,
            Some(Failure::Twice) => drop(self.write(method, path, kind, body)),
            Some(Failure::After | Failure::CrashAfter) | None => {}
        }
        let answer = self.write(method, path, kind, body);
        if let Some((_, change)) = self.after.take_if(|(at, _)| *at == number) {
            change(&mut self.objects);
        }
        match fail {
            Some(Failure::After) => Some(unavailable()),
            Some(Failure::CrashAfter) => None,
            _ => Some(answer),
        }
    }

    fn log(&mut self, pod: &str, query: &str) -> LogAnswer {
        self.log_queries.push(query.to_owned());
        self.logs.get(pod).cloned().unwrap_or(LogAnswer::Error(404))
    }

    fn write(&mut self, method: &Method, path: &str, kind: &str, body: &Value) -> (StatusCode, Value) {
        match *method {
            Method::POST => self.create(path, body),
            Method::PATCH => self.patch(path, kind, body),
            Method::DELETE => self.delete(path, body),
            _ => status(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }

    /// The objects of a collection, in one namespace or all, that match the label selector.
    fn list(&self, path: &str, query: &str) -> (StatusCode, Value) {
        let kind = path.rsplit('/').next().unwrap_or_default();
        let query = query.replace("%2F", "/").replace("%3D", "=");
        let selector = query.split('&').find_map(|pair| pair.strip_prefix("labelSelector=")?.split_once('='));
        let selected = |object: &&Value| selector.is_none_or(|(key, value)| object["metadata"]["labels"][key] == value);
        let of_kind = self.objects.iter().filter(|(path, _)| path.rsplit('/').nth(1) == Some(kind));
        let items: Vec<_> = of_kind.map(|(_, object)| object).filter(selected).cloned().collect();
        (StatusCode::OK, json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": items }))
    }

    fn create(&mut self, path: &str, body: &Value) -> (StatusCode, Value) {
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        let path = format!("{path}/{name}");
        if self.objects.contains_key(&path) {
            return status(StatusCode::CONFLICT, "AlreadyExists");
        }
        let mut object = body.clone();
        object["metadata"]["uid"] = json!(format!("{name}-uid"));
        // With a status subresource, a create ignores the status.
        if let Some(object) = object.as_object_mut() {
            object.remove("status");
        }
        (StatusCode::CREATED, self.store(path, object))
    }

    fn patch(&mut self, path: &str, kind: &str, body: &Value) -> (StatusCode, Value) {
        let (path, of_status) = path.strip_suffix("/status").map_or((path, false), |path| (path, true));
        let Some(before) = self.objects.get(path) else { return not_found() };
        for field in ["uid", "resourceVersion"] {
            let wanted = &body["metadata"][field];
            if !wanted.is_null() && *wanted != before["metadata"][field] {
                return status(StatusCode::CONFLICT, "Conflict");
            }
        }
        let mut object = before.clone();
        if kind.contains("json-patch") {
            let operations: json_patch::Patch = serde_json::from_value(body.clone()).expect("a JSON patch");
            if json_patch::patch(&mut object, &operations).is_err() {
                return status(StatusCode::UNPROCESSABLE_ENTITY, "Invalid");
            }
            let object = self.store(path.to_owned(), object);
            self.collect(path);
            return (StatusCode::OK, object);
        }
        let mut patch = body.clone();
        if of_status {
            patch = json!({ "status": patch["status"] });
        }
        if kind.contains("strategic") {
            merge_conditions(&object, &mut patch);
        }
        json_patch::merge(&mut object, &patch);
        let conditions = object["status"]["conditions"].as_array();
        let is_true =
            |type_: &str| conditions.into_iter().flatten().any(|c| c["type"] == type_ && c["status"] == "True");
        if is_true("FailureTarget") && is_true("SuccessCriteriaMet") {
            return status(StatusCode::UNPROCESSABLE_ENTITY, "Invalid");
        }
        let object = self.store(path.to_owned(), object);
        self.collect(path);
        (StatusCode::OK, object)
    }

    fn delete(&mut self, path: &str, body: &Value) -> (StatusCode, Value) {
        let Some(object) = self.objects.get(path) else { return not_found() };
        let wanted = &body["preconditions"]["uid"];
        if !wanted.is_null() && *wanted != object["metadata"]["uid"] {
            return status(StatusCode::CONFLICT, "Conflict");
        }
        let mut object = object.clone();
        object["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:05Z");
        object["forced"] = json!(body["gracePeriodSeconds"] == json!(0));
        let object = self.store(path.to_owned(), object);
        self.collect(path);
        (StatusCode::OK, object)
    }

    /// Removes a deleted object without finalizers. A gracefully deleted pod stays, because there is no kubelet to remove it.
    fn collect(&mut self, path: &str) {
        let held = |object: &Value| {
            let finalizers = object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
            let graceful = path.contains("/pods/") && object["forced"] != json!(true);
            object["metadata"]["deletionTimestamp"].is_null() || finalizers || graceful
        };
        if self.objects.get(path).is_some_and(|object| !held(object)) {
            self.objects.remove(path);
            self.version += 1;
        }
    }

    fn store(&mut self, path: String, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path, object.clone());
        object
    }
}

async fn answered(answer: LogAnswer) -> Response<Body> {
    let (status, body) = match answer {
        LogAnswer::Text(text) => (StatusCode::OK, text),
        LogAnswer::Error(code) => {
            let code = StatusCode::from_u16(code).expect("a status code");
            let (code, body) = status(code, "Refused");
            (code, serde_json::to_vec(&body).expect("JSON"))
        }
        LogAnswer::Hang => std::future::pending().await,
    };
    Response::builder().status(status).body(Body::from(body)).expect("a valid response")
}

/// Merges conditions by type, as a strategic merge patch does.
fn merge_conditions(object: &Value, patch: &mut Value) {
    let Some(new) = patch["status"]["conditions"].as_array().cloned() else { return };
    let kept = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let kept = kept.into_iter().filter(|old| new.iter().all(|new| new["type"] != old["type"]));
    patch["status"]["conditions"] = kept.chain(new.iter().cloned()).collect();
}

fn not_found() -> (StatusCode, Value) {
    status(StatusCode::NOT_FOUND, "NotFound")
}

fn unavailable() -> (StatusCode, Value) {
    status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
}

fn status(code: StatusCode, reason: &str) -> (StatusCode, Value) {
    let answer = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code.as_u16()
    });
    (code, answer)
}
