//! A mutating webhook of another vendor, which the API server calls for the pods of one namespace.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::tls_server::TlsServer;
use jobwarden_testbed::Cluster;

/// Returns the JSON Patch (RFC 6902) for a pod.
pub type Mutate = fn(&Value) -> Value;

/// A running webhook. Call [`MutatingWebhook::unregister`] in the end, or the API server continues to call it.
pub struct MutatingWebhook {
    name: String,
    client: Client,
    _server: TlsServer,
}

impl MutatingWebhook {
    /// Makes the API server call `mutate` for every pod that is created in `namespace`. The API server calls webhooks in the order
    /// of their configurations' names. `reinvocation` is `Never` or `IfNeeded`.
    pub async fn start(
        cluster: &Cluster,
        name: &str,
        namespace: &str,
        reinvocation: &str,
        mutate: Mutate,
    ) -> anyhow::Result<Self> {
        let listener = cluster.listen(0).await?;
        let host = listener.local_addr().context("reading the listener's address")?.ip().to_string();
        let server = TlsServer::start(listener, &host, move |body| answer(&body, mutate))?;
        let client = cluster.client()?;
        let configuration = json!({
            "metadata": {"name": name},
            "webhooks": [{
                "name": format!("{name}.example.com"),
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": format!("https://{}/", server.address()), "caBundle": STANDARD.encode(server.ca())},
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "reinvocationPolicy": reinvocation,
                "timeoutSeconds": 10,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
            }],
        });
        let configuration: MutatingWebhookConfiguration = serde_json::from_value(configuration)?;
        let configurations = Api::<MutatingWebhookConfiguration>::all(client.clone());
        configurations
            .create(&PostParams::default(), &configuration)
            .await
            .context("creating the configuration of the other webhook")?;
        Ok(Self { name: name.to_owned(), client, _server: server })
    }

    /// Deletes its configuration, so that the API server no longer calls it.
    pub async fn unregister(self) -> anyhow::Result<()> {
        let configurations = Api::<MutatingWebhookConfiguration>::all(self.client.clone());
        configurations
            .delete(&self.name, &DeleteParams::default())
            .await
            .context("deleting the configuration of the other webhook")?;
        Ok(())
    }
}

fn answer(body: &Bytes, mutate: Mutate) -> Vec<u8> {
    let review: Value = serde_json::from_slice(body).unwrap_or_default();
    let patch = mutate(&review["request"]["object"]).to_string();
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"],
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": STANDARD.encode(patch),
        },
    });
    review.to_string().into_bytes()
}
