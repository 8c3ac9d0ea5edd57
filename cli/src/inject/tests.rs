//! `inject` against the recorded admissions of the webhook.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use jobwarden_inject::{
    config::IdentityConfig,
    identity::{Rules, preset::Preset},
    patch::sidecar::{PullPolicy, Sidecar},
};
use serde_json::json;

use super::*;

/// The settings and the endpoint that the admissions were recorded with (`webhook/tests/golden/main.rs`).
fn injector() -> Injector {
    let ip = "10.96.0.7".parse().expect("an address");
    let ca = "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n".to_owned();
    Injector {
        settings: Settings {
            rules: Rules::new(IdentityConfig { preset: Preset::OrtServer, ..IdentityConfig::default() }),
            finalizer: true,
            unreachable_grace: Duration::from_hours(1),
            sidecar: Sidecar {
                image: "registry.example.com/jobwarden-sidecar:1".to_owned(),
                pull_policy: PullPolicy::IfNotPresent,
                image_pull_secrets: vec!["registry".to_owned()],
                cpu: "10m".parse().expect("a quantity"),
                memory: "16Mi".parse().expect("a quantity"),
                namespaces: BTreeMap::new(),
                beat_interval: Duration::from_secs(10),
            },
        },
        reaper: Endpoint::new(ip, "jobwarden", ca),
        namespace: "default".to_owned(),
    }
}

fn recorded() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../webhook/tests/golden");
    let entries = fs::read_dir(&folder).expect("the golden files");
    let shapes: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()).collect();
    assert!(shapes.len() >= 40, "only {} shapes", shapes.len());
    shapes
}

#[test]
fn inject_gives_byte_for_byte_what_admission_gives() {
    let injector = injector();
    for shape in recorded() {
        let request = fs::read_to_string(shape.join("request.json")).expect("every shape has a request");
        let request: Value = serde_json::from_str(&request).expect("a request is JSON");
        if request["request"]["operation"] != "CREATE" {
            continue; // `inject` treats every object as being created
        }
        let mut object = request["request"]["object"].clone();
        let injected = injector.inject(&mut object).map(|_| format!("{object:#}\n"));
        let recorded = fs::read_to_string(shape.join("patched.json"));
        match (injected, recorded) {
            (Ok(injected), Ok(recorded)) => assert_eq!(injected, recorded, "{}", shape.display()),
            (Err(reason), Err(_)) => {
                let response = fs::read_to_string(shape.join("response.json")).expect("a response");
                let response: Value = serde_json::from_str(&response).expect("JSON");
                assert_eq!(response["status"]["message"], reason, "{}", shape.display());
            }
            (injected, recorded) => panic!("{}: injected {injected:?}, recorded {recorded:?}", shape.display()),
        }
    }
}

#[test]
fn only_jobs_and_pods_are_explained() {
    let explain = |object: Value| injector().explain(&object).expect("it can be parsed").map(|it| it.to_string());
    let labels = json!({"labels": {"jobwarden.io/run-id": "41"}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": labels, "spec": {"template": {"spec": {"containers": []}}}});
    assert!(explain(job).is_some_and(|text| text.contains("41")));
    assert_eq!(explain(json!({"apiVersion": "v1", "kind": "Service", "metadata": labels})), None);
}

#[test]
fn an_endpoint_file_without_the_ca_is_rejected() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("endpoint.yaml");
    fs::write(&path, "kind: ConfigMap\ndata: {address: '10.0.0.1:8444', server-name: a.b.svc}\n").expect("written");
    let error = endpoint_of(&path).expect_err("ca.crt is missing").to_string();
    assert!(error.ends_with("data.ca.crt is missing"), "{error}");
}
