//! Recorded shapes: what the API server sends, what it is answered, and the object that comes of it.
//!
//! A shape is a folder here with `request.json`, an `AdmissionReview`; `response.json`, the answer with its patch decoded; and
//! `patched.json`, the object afterwards, where it is admitted. `JOBWARDEN_UPDATE_GOLDEN=1 cargo test -p jobwarden-webhook --test
//! golden` writes the last two; read the difference before you commit it.

#[path = "../../../inject/tests/patch/installation.rs"]
mod installation;

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64_simd::STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use installation::{reaper, settings};
use jobwarden_common::names::admission_route;
use jobwarden_serve::accept::Limits;
use jobwarden_webhook::{
    admission::{Admission, Metrics},
    limits::LimitRanges,
};
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::watch;

fn shapes() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = fs::read_dir(&folder).expect("the folder of this test");
    let mut shapes: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()).collect();
    shapes.sort();
    shapes
}

fn request(shape: &Path) -> Value {
    let text = fs::read_to_string(shape.join("request.json")).expect("every shape has a request");
    serde_json::from_str(&text).expect("a request is JSON")
}

/// The response of the webhook, with its patch decoded.
async fn answer(request: &Value) -> Value {
    let (_settings, applying) = watch::channel(Arc::new(settings()));
    let (_reaper, endpoint) = watch::channel(Some(Arc::new(reaper())));
    let metrics = Metrics::register(&mut Registry::default());
    let admission = Admission::new(applying, endpoint, LimitRanges::fixed([]), metrics, Limits::default());
    let path = if request["request"]["resource"]["resource"] == "jobs" {
        admission_route::JOBS
    } else {
        admission_route::PODS
    };
    let http = Request::post(path).body(Full::new(Bytes::from(request.to_string()))).expect("a request");
    let body = admission.respond(http).await.into_body().collect().await.expect("a body in memory").to_bytes();
    let mut review: Value = serde_json::from_slice(&body).expect("the answer is JSON");
    let mut response = review["response"].take();
    if let Some(patch) = response["patch"].as_str() {
        let patch = STANDARD.decode_to_vec(patch).expect("a patch is base64");
        response["patch"] = serde_json::from_slice(&patch).expect("a patch is JSON");
    }
    response
}

/// The object after the API server has applied the response.
fn patched(request: &Value, response: &Value) -> Option<Value> {
    response["allowed"].as_bool()?.then(|| {
        let mut object = request["request"]["object"].clone();
        if response["patch"].is_array() {
            let patch: json_patch::Patch =
                serde_json::from_value(response["patch"].clone()).expect("operations of RFC 6902");
            json_patch::patch(&mut object, &patch).expect("a patch applies");
        }
        object
    })
}

#[tokio::test]
async fn every_shape_is_admitted_as_recorded() {
    let update = env::var_os("JOBWARDEN_UPDATE_GOLDEN").is_some();
    let shapes = shapes();
    assert!(shapes.len() >= 40, "only {} shapes", shapes.len());
    for shape in shapes {
        let request = request(&shape);
        let response = answer(&request).await;
        let patched = patched(&request, &response);
        for (name, value) in [("response.json", Some(response)), ("patched.json", patched)] {
            let path = shape.join(name);
            let text = value.map(|value| format!("{value:#}\n"));
            if update {
                match &text {
                    Some(text) => fs::write(&path, text).expect("written"),
                    None => drop(fs::remove_file(&path)), // may not exist
                }
            }
            assert_eq!(text, fs::read_to_string(&path).ok(), "{}", path.display());
        }
    }
}
