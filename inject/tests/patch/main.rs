//! Tests of admission through the crate's public functions: rules for single objects, and laws for all.

mod corpus;
mod harm;
mod installation;
mod law;
mod laws;
mod limits;
mod linear;
mod rules;
#[path = "../../../tests/src/corpus.rs"]
#[allow(unreachable_pub, reason = "the crate of the cluster tests exports it")]
mod shapes;

use installation::{reaper, settings};
use jobwarden_inject::{
    patch::{Denial, Mutation, Settings, job, pod},
    view::{Job, Pod},
};
use serde_json::{Value, json};

fn admit_job(job: &Value) -> Result<Mutation, Denial> {
    admit_job_with(job, &settings())
}

fn admit_job_with(job: &Value, settings: &Settings) -> Result<Mutation, Denial> {
    let text = job.to_string();
    job::admit(&serde_json::from_str::<Job<'_>>(&text).expect("the test's Job is valid"), "work", settings, None)
}

fn admit_pod(pod: &Value) -> Result<Mutation, Denial> {
    admit_pod_with(pod, &settings())
}

fn admit_pod_with(pod: &Value, settings: &Settings) -> Result<Mutation, Denial> {
    let text = pod.to_string();
    pod::admit(
        &serde_json::from_str::<Pod<'_>>(&text).expect("the test's pod is valid"),
        "work",
        settings,
        &reaper(),
        None,
    )
}

/// `object` after `mutation`.
fn patched(object: &Value, mutation: &Mutation) -> Value {
    let mut object = object.clone();
    json_patch::patch(&mut object, &mutation.operations.to_patch()).expect("the patch applies");
    object
}

/// A minimal Job.
fn a_job() -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "sum", "namespace": "work"},
        "spec": {"template": {"metadata": {}, "spec": {
            "restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}],
        }}},
    })
}

/// A pod as the Job controller creates it and the API server's built-in plugins complete it.
fn a_pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "sum-", "namespace": "work",
            "labels": {"batch.kubernetes.io/job-name": "sum"},
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": "sum", "uid": "0b55-uid", "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "busybox", "volumeMounts": [
                {"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
            ]}],
            "volumes": [{"name": "kube-api-access-x", "projected": {"sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            ]}}],
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            ],
        },
    })
}

/// The Job of an ORT server's worker.
fn an_ort_job() -> Value {
    let mut job = a_job();
    job["metadata"]["labels"] = json!({"ort-worker": "analyzer", "run-id": "42", "trace-id-0": "0af7651916cd43dd", "trace-id-1": "8448eb211c80319c"});
    job["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "runId", "value": "42"}, {"name": "payload", "value": "{\"analyzerJobId\":7}"}]);
    job
}
