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
    patch::{
        on_failure::OnFailure,
        sidecar::{PullPolicy, Sidecar},
    },
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
            on_failure: OnFailure::Auto,
            sidecar: Sidecar {
                image: "registry.example.com/jobwarden-sidecar:1".to_owned(),
                pull_policy: PullPolicy::IfNotPresent,
                image_pull_secrets: vec!["registry".to_owned()],
                cpu: "10m".parse().expect("a quantity"),
                memory: "16Mi".parse().expect("a quantity"),
                namespaces: BTreeMap::new(),
                limits: patch::size_limits::SizeLimits::default(),
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
        let injected = injector.inject(Kind::of(&object), &mut object).map(|_| format!("{object:#}\n"));
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
    let explain = |object: Value| {
        injector().explain(Kind::of(&object), &object).expect("it can be parsed").map(|it| it.to_string())
    };
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

#[test]
fn a_job_with_null_labels_in_a_list_without_kinds_is_injected() {
    let item = json!({"metadata": {"name": "sum", "labels": {"team": null}}, "spec": {"template": {"spec": {"containers": []}}}});
    let mut lists = [json!({"apiVersion": "batch/v1", "kind": "JobList", "items": [item]})];
    for (kind, object) in crate::objects::documents::each(&mut lists) {
        injector().inject(kind, object).expect("injected");
    }
    let labels = &lists[0]["items"][0]["metadata"]["labels"];
    assert_eq!(labels, &json!({"team": null, "jobwarden.io/enrolled": "true"}));
}

#[test]
fn five_thousand_jobs_take_linear_time() {
    let yaml = |count: usize| {
        let job = |n: usize| {
            format!(
                "- apiVersion: batch/v1\n  kind: Job\n  metadata: {{name: job-{n}}}\n  spec:\n    template:\n      spec:\n        \
                 restartPolicy: Never\n        containers:\n        - name: main\n          image: work:1\n          env:\n{}",
                "          - {name: A, value: b}\n".repeat(10)
            )
        };
        format!("apiVersion: v1\nkind: List\nitems:\n{}", (0..count).map(job).collect::<String>())
    };
    let injector = injector();
    let time = |count: usize| {
        let text = yaml(count);
        let start = std::time::Instant::now();
        let (mut objects, format) = crate::objects::documents::read(&text).expect("YAML");
        let mut injected = 0;
        for (kind, object) in crate::objects::documents::each(&mut objects) {
            injector.inject(kind, object).expect("injected");
            injected += 1;
        }
        assert_eq!(injected, count);
        crate::objects::documents::write(&objects, format).expect("written");
        start.elapsed()
    };
    // Ten times the Jobs would take a hundred times as long in quadratic time.
    let few = (0..3).map(|_| time(500)).min().expect("there are runs");
    let many = time(5_000);
    assert!(many < few * 40, "500 Jobs take {few:?}, 5,000 take {many:?}");
}
