//! A pod that is created as a dry run: only the whole chain of admission shows what other webhooks do to worker pods.

use jobwarden_common::names::{label, label_value};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::lookup::Lookup;

/// The dry run in one namespace.
#[derive(Clone, Debug)]
pub(super) struct DryRun {
    pub(super) namespace: String,
    pub(super) response: Lookup<Response>,
}

/// The response of the API server.
#[derive(Clone, Debug)]
pub(super) enum Response {
    /// The pod as it would be created.
    Admitted {
        pod: Box<Pod>,
        /// As `kubectl` shows them.
        warnings: Vec<String>,
    },
    /// The reason of a rejection.
    Rejected(String),
}

/// A pod that opts in and passes Pod Security `restricted`. With or without requests and limits, because some namespaces require
/// them and others limit them.
pub(super) fn pod(image: &str, with_resources: bool) -> Pod {
    let size = json!({"cpu": "100m", "memory": "64Mi"});
    let resources = if with_resources { json!({"requests": size, "limits": size}) } else { json!({}) };
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "jobwarden-check-", "labels": {label::INJECT: label_value::TRUE}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "check",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "resources": resources,
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    serde_json::from_value(pod).expect("the literal above has the shape of a pod")
}
