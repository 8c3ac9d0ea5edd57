//! The handler alone, from an `AdmissionReview` in bytes to the answer in bytes: a minimal, a typical and a large pod.

use std::{hint::black_box, sync::Arc, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::Request;
use http_body_util::Full;
use jobwarden_common::names::admission_route;
use jobwarden_inject::{
    config::IdentityConfig,
    endpoint::Endpoint,
    identity::Rules,
    patch::{
        Settings,
        sidecar::{PullPolicy, Sidecar},
    },
};
use jobwarden_webhook::admission::{Admission, Metrics};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::{runtime::Builder, sync::watch};

const MAX_BODY: usize = 3 * 1024 * 1024;

fn settings() -> Settings {
    Settings {
        rules: Rules::new(IdentityConfig::default()),
        finalizer: true,
        unreachable_grace: Duration::from_hours(1),
        sidecar: Sidecar {
            image: "registry.example.com/jobwarden-sidecar:1".to_owned(),
            pull_policy: PullPolicy::IfNotPresent,
            image_pull_secrets: Vec::new(),
            cpu: "10m".parse().expect("a quantity"),
            memory: "16Mi".parse().expect("a quantity"),
            namespaces: std::collections::BTreeMap::new(),
            beat_interval: Duration::from_secs(10),
        },
    }
}

/// The review of a Job's pod with so many containers, variables in each and volumes.
fn review(containers: usize, variables: usize, volumes: usize) -> Bytes {
    let env: Vec<Value> =
        (0..variables).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": "x".repeat(100)})).collect();
    let containers: Vec<Value> = (0..containers)
        .map(|n| json!({"name": format!("main-{n}"), "image": "registry.example.com/work:1", "env": env}))
        .collect();
    let volumes: Vec<Value> = (0..volumes).map(|n| json!({"name": format!("volume-{n}"), "emptyDir": {}})).collect();
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "work-",
            "namespace": "jobs",
            "labels": {"job-name": "work", "jobwarden.io/run-id": "42", "jobwarden.io/job-id": "7"},
            "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": "work", "uid": "u-2", "controller": true}
            ]
        },
        "spec": {"restartPolicy": "Never", "containers": containers, "volumes": volumes}
    });
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "jobs",
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:job-controller"},
            "object": pod,
            "dryRun": false
        }
    });
    review.to_string().into()
}

fn handling(criterion: &mut Criterion) {
    let ip = "10.96.0.7".parse().expect("an address");
    let ca = "-----BEGIN CERTIFICATE-----\n".repeat(20);
    let (_reaper, receiver) = watch::channel(Some(Arc::new(Endpoint::new(ip, "jobwarden", ca))));
    let (_settings, applying) = watch::channel(Arc::new(settings()));
    let admission = Admission::new(applying, receiver, Metrics::register(&mut Registry::default()), MAX_BODY);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime needs nothing but memory");
    for (name, body) in [
        ("handler_minimal", review(1, 0, 0)),
        ("handler_typical", review(1, 10, 1)),
        ("handler_large", review(5, 500, 10)),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let request = Request::post(admission_route::PODS).body(Full::new(body.clone())).expect("a request");
                black_box(runtime.block_on(admission.respond(request)))
            });
        });
    }
}

criterion_group!(benches, handling);
criterion_main!(benches);
