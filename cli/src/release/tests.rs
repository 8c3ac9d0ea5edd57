//! Release against an API server in memory.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use clap::Parser as _;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::Value;

use super::*;

const CONFIGURATION: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/jobwarden";

/// Objects by path, such as `/apis/batch/v1/namespaces/a/jobs/j`. Clones are the same server.
#[derive(Clone, Default)]
struct ApiServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    /// Another client's change to the objects, made right before the first patch.
    concurrent: Option<Change>,
}

type Change = Box<dyn FnOnce(&mut BTreeMap<String, Value>) + Send>;

impl ApiServer {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let (status, answer) = server.with(|state| state.answer(&head.method, head.uri.path(), &body));
                let body = Body::from(answer.to_string().into_bytes());
                Response::builder().status(status).body(body).map_err(|error| error.to_string())
            }
        });
        Client::new(service, "default")
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add_job(&self, namespace: &str, name: &str, finalizers: &[&str]) -> String {
        let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs/{name}");
        let metadata = json!({"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1", "finalizers": finalizers});
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {}}});
        self.with(|state| state.objects.insert(path.clone(), job));
        path
    }

    fn finalizers(&self, path: &str) -> Value {
        self.with(|state| state.objects[path]["metadata"]["finalizers"].clone())
    }
}

impl State {
    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        if method == Method::GET && path.ends_with("/jobs") {
            let items: Vec<_> =
                self.objects.iter().filter(|(path, _)| path.contains("/jobs/")).map(|(_, it)| it).collect();
            return (200, json!({"kind": "JobList", "apiVersion": "batch/v1", "metadata": {}, "items": items}));
        }
        if method == Method::PATCH
            && let Some(concurrent) = self.concurrent.take()
        {
            concurrent(&mut self.objects);
        }
        let Some(object) = self.objects.get_mut(path) else { return failure(404, "NotFound") };
        match *method {
            Method::GET => (200, object.clone()),
            Method::DELETE => (200, self.objects.remove(path).unwrap_or_default()),
            Method::PATCH if body["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] => {
                failure(409, "Conflict")
            }
            Method::PATCH => {
                json_patch::merge(object, body);
                (200, object.clone())
            }
            _ => failure(405, "MethodNotAllowed"),
        }
    }
}

fn failure(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "message": reason, "code": code,
    });
    (code, status)
}

async fn run(server: &ApiServer) -> Vec<String> {
    let printed = RefCell::new(Vec::new());
    let print = |line: String| {
        printed.borrow_mut().push(line);
        Ok(())
    };
    let steps = Steps { all: true, remove_webhook: true, stop_reapers: false };
    steps.run(&server.client(), "jobwarden", &print).await.expect("released");
    printed.into_inner()
}

#[tokio::test]
async fn every_job_is_released_and_a_repetition_changes_nothing() {
    let server = ApiServer::default();
    server.with(|state| state.objects.insert(CONFIGURATION.to_owned(), json!({"metadata": {"name": "jobwarden"}})));
    let (held, shared) =
        (server.add_job("a", "held", &[FINALIZER]), server.add_job("b", "shared", &["other", FINALIZER]));
    let free = server.add_job("b", "free", &["other"]);
    assert_eq!(
        run(&server).await,
        [
            "MutatingWebhookConfiguration jobwarden deleted",
            "Job a/held released",
            "Job b/shared released",
            "2 Jobs released"
        ]
    );
    assert_eq!(server.finalizers(&held), json!([]));
    assert_eq!((server.finalizers(&shared), server.finalizers(&free)), (json!(["other"]), json!(["other"])));
    assert_eq!(run(&server).await, ["MutatingWebhookConfiguration jobwarden not found", "0 Jobs released"]);
}

#[tokio::test]
async fn a_job_that_is_modified_concurrently_is_released_without_losing_the_change() {
    let server = ApiServer::default();
    let path = server.add_job("a", "one", &[FINALIZER]);
    let changed = path.clone();
    server.with(|state| {
        state.concurrent = Some(Box::new(move |objects| {
            let metadata = &mut objects.get_mut(&changed).expect("it exists")["metadata"];
            metadata["finalizers"] = json!([FINALIZER, "theirs"]);
            metadata["resourceVersion"] = json!("2");
        }));
    });
    run(&server).await;
    assert_eq!(server.finalizers(&path), json!(["theirs"]));
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    _release: ReleaseArgs,
}

#[test]
fn a_release_of_nothing_is_rejected() {
    assert!(Line::try_parse_from(["release"]).is_err());
    // As the chart's hook has it.
    assert!(Line::try_parse_from(["release", "--all", "--remove-webhook", "--stop-reapers"]).is_ok());
}
