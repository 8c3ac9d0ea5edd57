//! Any bytes as the body of an admission request: there is an answer, it is about the request it was asked, and its patch applies.

#![no_main]

#[path = "../../inject/tests/patch/installation.rs"]
mod installation;
#[allow(dead_code, reason = "the target reads no paths")]
#[path = "../../webhook/src/admission/kind.rs"]
mod kind;
#[path = "../../webhook/src/admission/review.rs"]
mod review;

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jobwarden_inject::{
    endpoint::Endpoint,
    patch::{Denial, Mutation, Settings, job, pod},
    view::{Job, Pod},
};
use json_patch::Patch;
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    kind::Kind,
    review::{Answer, Fault, Request, read},
};

/// The most that an answer adds to what it repeats of the request: the sidecar, labels and warnings.
const MAX_ADDED: usize = 64 * 1024;

static SETTINGS: LazyLock<Settings> = LazyLock::new(installation::settings);
static REAPER: LazyLock<Endpoint> = LazyLock::new(installation::reaper);

fuzz_target!(|data: &[u8]| {
    respond::<Job<'_>>(data, Kind::Job, |job, namespace| job::admit(job, namespace, &SETTINGS, None));
    respond::<Pod<'_>>(data, Kind::Pod, |pod, namespace| pod::admit(pod, namespace, &SETTINGS, &REAPER, None));
});

fn respond<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    kind: Kind,
    decide: impl FnOnce(&T, &str) -> Result<Mutation, Denial>,
) {
    let request: Request<'a, T> = match read(body) {
        Ok(request) => request,
        Err(Fault::NotAReview(_)) => return,
        Err(Fault::Unreadable { uid, reason }) => {
            return check(body, &uid, &Answer::denied(&uid, http::StatusCode::BAD_REQUEST, reason));
        }
    };
    let Some(object) = request.object.as_ref().filter(|_| request.is_about(kind.resource()) && request.creates())
    else {
        return;
    };
    let answer = match decide(object, request.namespace()) {
        Ok(mutation) => Answer::allowed(&request.uid, mutation),
        Err(denial) => Answer::denied(&request.uid, http::StatusCode::UNPROCESSABLE_ENTITY, denial.to_string()),
    };
    check(body, &request.uid, &answer);
}

fn check(body: &[u8], uid: &str, answer: &Answer<'_>) {
    let answer = answer.to_json().expect("answers are plain values");
    // A control character becomes six, and text in a patch is a third longer.
    assert!(answer.len() <= MAX_ADDED + 8 * body.len(), "{} bytes for {}", answer.len(), body.len());
    let answer: Value = serde_json::from_slice(&answer).expect("the answer is JSON");
    assert_eq!(answer["response"]["uid"], uid, "an answer to another request");
    let asked: Option<Value> = serde_json::from_slice(body).ok();
    let Some(patch) = answer["response"]["patch"].as_str() else { return };
    let patch = STANDARD.decode(patch).expect("the patch is base64");
    let patch: Patch = serde_json::from_slice(&patch).expect("the patch is a patch");
    // `Value` keeps the last of duplicate keys, where the request had none: serde rejects duplicates of what it looks for.
    if let Some(mut object) = asked.map(|asked| asked["request"]["object"].clone()) {
        json_patch::patch(&mut object, &patch).expect("the patch applies");
    }
}
