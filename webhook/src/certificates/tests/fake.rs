//! An API server in memory, as far as certificates need it: objects by path, with resource versions.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use kube::{Client, client::Body};
use serde_json::{Value, json};

/// Objects by path. Clones are the same server.
#[derive(Clone, Default)]
pub(super) struct ApiServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    writes: usize,
}

impl ApiServer {
    pub(super) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                // Yields to the other client, so that two of them race at every step.
                tokio::task::yield_now().await;
                let (head, body) = request.into_parts();
                let body = body.collect().await.expect("a body in memory").to_bytes();
                let (status, object) = server.answer(&head.method, head.uri.path(), &body);
                let mut response = Response::new(Full::new(Bytes::from(object.to_string())));
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        });
        Client::new(service, "default")
    }

    pub(super) fn put(&self, path: &str, object: Value) {
        self.with(|state| state.store(path, object));
    }

    pub(super) fn get(&self, path: &str) -> Value {
        self.with(|state| state.objects.get(path).cloned()).expect("the object exists")
    }

    pub(super) fn delete(&self, path: &str) {
        self.with(|state| state.objects.remove(path)).expect("the object existed");
    }

    /// Accepted writes since the last call.
    pub(super) fn writes(&self) -> usize {
        self.with(|state| std::mem::take(&mut state.writes))
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().expect("no test panics while holding the lock"))
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
        let sent = || serde_json::from_slice::<Value>(body).expect("JSON");
        self.with(|state| {
            let existing = state.objects.get(path).cloned();
            match (method, existing) {
                (&Method::GET, Some(object)) => (StatusCode::OK, object),
                // The chart creates everything.
                (&Method::POST, _) => failure(StatusCode::FORBIDDEN, "Forbidden"),
                (&Method::PUT, Some(existing)) => {
                    let object = sent();
                    if object["metadata"]["resourceVersion"] != existing["metadata"]["resourceVersion"] {
                        return failure(StatusCode::CONFLICT, "Conflict");
                    }
                    (StatusCode::OK, state.write(path, object))
                }
                (&Method::PATCH, Some(mut object)) => {
                    let patch: json_patch::Patch = serde_json::from_slice(body).expect("a JSON patch");
                    match json_patch::patch(&mut object, &patch) {
                        Ok(()) => (StatusCode::OK, state.write(path, object)),
                        Err(_) => failure(StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
                    }
                }
                _ => failure(StatusCode::NOT_FOUND, "NotFound"),
            }
        })
    }
}

impl State {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn write(&mut self, path: &str, object: Value) -> Value {
        self.writes += 1;
        self.store(path, object)
    }
}

fn failure(code: StatusCode, reason: &str) -> (StatusCode, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason, "reason": reason,
        "code": code.as_u16(),
    });
    (code, status)
}
