//! Reviews of pods as the API server sends them, with what its own plugins add and what the Job controller sets.

use bytes::Bytes;
use serde_json::{Value, json};

/// A pod of one container and nothing else.
pub(crate) fn minimal() -> Bytes {
    review(1, 0, 0, 0)
}

/// A pod of one container with ten variables.
pub(crate) fn typical() -> Bytes {
    review(1, 10, 40, 1)
}

/// A pod of five containers with five hundred variables in all, and ten volumes: about 120 kB.
pub(crate) fn large() -> Bytes {
    review(5, 100, 180, 10)
}

/// The review of a Job's pod with this number of containers, variables in each, bytes in each variable, and volumes.
fn review(containers: usize, variables: usize, bytes: usize, volumes: usize) -> Bytes {
    let env: Vec<Value> =
        (0..variables).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": "x".repeat(bytes)})).collect();
    let containers: Vec<Value> = (0..containers)
        .map(|n| {
            json!({
                "name": format!("main-{n}"), "image": "registry.example.com/work:1", "args": ["run", "--fast"], "env": env,
                "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
                "volumeMounts": [{
                    "name": "kube-api-access-x7k2p", "readOnly": true,
                    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                }],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "imagePullPolicy": "IfNotPresent",
            })
        })
        .collect();
    let mut all: Vec<Value> = (0..volumes).map(|n| json!({"name": format!("volume-{n}"), "emptyDir": {}})).collect();
    all.push(json!({"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]}}));
    let tolerations: Vec<Value> = ["not-ready", "unreachable"]
        .map(|taint| {
            let key = format!("node.kubernetes.io/{taint}");
            json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
        })
        .into();
    let pod = json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "generateName": "work-", "namespace": "jobs", "creationTimestamp": null,
            "labels": {
                "batch.kubernetes.io/controller-uid": "3ad1f0c2-8b1e-4f0e-9c53-7c8f3c7b0b55",
                "batch.kubernetes.io/job-name": "work", "job-name": "work",
                "jobwarden.io/enrolled": "true", "jobwarden.io/run-id": "42", "jobwarden.io/job-id": "7",
            },
            "annotations": {"jobwarden.io/run-id": "42", "jobwarden.io/job-id": "7"},
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": "work", "uid": "3ad1f0c2-8b1e-4f0e-9c53-7c8f3c7b0b55",
                "controller": true, "blockOwnerDeletion": true,
            }],
            "finalizers": ["batch.kubernetes.io/job-tracking"],
            "managedFields": [{
                "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                "time": "2026-11-02T08:00:00Z", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:metadata": {"f:generateName": {}, "f:labels": {".": {}, "f:job-name": {}}}, "f:spec": {
                    "f:containers": {"k:{\"name\":\"main-0\"}": {".": {}, "f:image": {}, "f:name": {}}},
                    "f:restartPolicy": {}, "f:schedulerName": {},
                }},
            }],
        },
        "spec": {
            "volumes": all, "containers": containers, "restartPolicy": "Never", "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst", "serviceAccountName": "default", "serviceAccount": "default",
            "securityContext": {}, "schedulerName": "default-scheduler", "tolerations": tolerations, "priority": 0,
            "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
        },
        "status": {},
    });
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let review = json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": kind, "resource": resource, "requestKind": kind,
            "requestResource": resource, "namespace": "jobs", "operation": "CREATE",
            "userInfo": {
                "username": "system:serviceaccount:kube-system:job-controller",
                "groups": ["system:serviceaccounts", "system:authenticated"],
            },
            "object": pod, "oldObject": null, "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    });
    review.to_string().into()
}
