//! What other components read: the caBundle for the API server, the reaper endpoint for the agents.

use std::{collections::BTreeMap, net::IpAddr, time::SystemTime};

use jobwarden_common::names::{endpoint_key, object};
use jobwarden_inject::endpoint::Endpoint;
use json_patch::{AddOperation, Patch as JsonPatch, PatchOperation, TestOperation, jsonptr::PointerBuf};
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::MutatingWebhookConfiguration,
        core::v1::{ConfigMap, Service},
    },
};
use kube::{Api, Client, api::Patch};

use super::{error::CertificateError, leaf::Leaf, secrets::ignore_conflict};

/// The `ClusterIP` of the reaper's Service.
pub(super) async fn reaper_address(client: Client, namespace: &str) -> Result<IpAddr, CertificateError> {
    const KIND: &str = "Service";
    let name = format!("{namespace}/{}", object::REAPER_SERVICE);
    let services: Api<Service> = Api::namespaced(client, namespace);
    let service = services.get_opt(object::REAPER_SERVICE).await;
    let service =
        service.map_err(|source| CertificateError::Api { verb: "read", kind: KIND, name: name.clone(), source })?;
    let Some(service) = service else { return Err(CertificateError::Missing { kind: KIND, name }) };
    cluster_ip(&service).ok_or(CertificateError::NoClusterIp(name))
}

/// `None` before an address is assigned, and for a headless Service, whose `clusterIP` is the word `None`.
fn cluster_ip(service: &Service) -> Option<IpAddr> {
    service.spec.as_ref()?.cluster_ip.as_ref()?.parse().ok()
}

/// Writes `endpoint` into the `ConfigMap` that the agents read; the chart creates it.
pub(super) async fn publish_endpoint(
    client: Client,
    namespace: &str,
    endpoint: &Endpoint,
) -> Result<(), CertificateError> {
    let name = object::REAPER_ENDPOINT;
    let failed = |verb| {
        move |source| CertificateError::Api { verb, kind: "ConfigMap", name: format!("{namespace}/{name}"), source }
    };
    let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
    let parameters = jobwarden_serve::field_manager::post_params();
    let wanted = endpoint_data(endpoint);
    match maps.get_opt(name).await.map_err(failed("read"))? {
        None => {
            let namespace = namespace.to_owned();
            Err(CertificateError::Deleted { kind: "ConfigMap", create: "configmap", name, namespace })
        }
        Some(map) if map.data.as_ref() == Some(&wanted) => Ok(()),
        Some(map) => {
            let map = ConfigMap { data: Some(wanted), ..map };
            ignore_conflict(maps.replace(name, &parameters, &map).await).map_err(failed("replace"))
        }
    }
}

fn endpoint_data(endpoint: &Endpoint) -> BTreeMap<String, String> {
    let data = [
        (endpoint_key::ADDRESS, endpoint.address()),
        (endpoint_key::SERVER_NAME, endpoint.server_name()),
        (endpoint_key::CA, endpoint.ca()),
    ];
    data.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The webhook configuration by which the API server calls this webhook.
pub(super) struct Configuration {
    api: Api<MutatingWebhookConfiguration>,
    object: MutatingWebhookConfiguration,
}

impl Configuration {
    const KIND: &str = "MutatingWebhookConfiguration";
    const NAME: &str = object::WEBHOOK_CONFIGURATION;

    fn failed(verb: &'static str) -> impl FnOnce(kube::Error) -> CertificateError {
        move |source| CertificateError::Api { verb, kind: Self::KIND, name: Self::NAME.to_owned(), source }
    }

    /// Reads the configuration from the API server.
    pub(super) async fn read(client: Client) -> Result<Self, CertificateError> {
        let api: Api<MutatingWebhookConfiguration> = Api::all(client);
        match api.get_opt(Self::NAME).await.map_err(Self::failed("read"))? {
            Some(object) => Ok(Self { api, object }),
            None => Err(CertificateError::Missing { kind: Self::KIND, name: Self::NAME.to_owned() }),
        }
    }

    /// Writes `bundle` into every `caBundle`, and keeps the object that the API server returns.
    pub(super) async fn trust(&mut self, bundle: &str) -> Result<(), CertificateError> {
        let patch = bundle_patch(&self.object, bundle);
        if !patch.0.is_empty() {
            tracing::info!(configuration = Self::NAME, "writing the caBundle");
            let parameters = jobwarden_serve::field_manager::patch_params();
            let patched = self.api.patch(Self::NAME, &parameters, &Patch::<()>::Json(patch)).await;
            self.object = patched.map_err(Self::failed("patch"))?;
        }
        Ok(())
    }

    /// Checks that the API server accepts `leaf` for every webhook.
    pub(super) fn trusts(&self, leaf: &Leaf, name: &str, now: SystemTime) -> Result<(), CertificateError> {
        for webhook in self.object.webhooks.iter().flatten() {
            let bundle = webhook.client_config.ca_bundle.as_ref().map_or(&[][..], |bundle| &bundle.0);
            leaf.serves(&String::from_utf8_lossy(bundle), name, now).map_err(|reason| {
                CertificateError::Distrusted { webhook: webhook.name.clone(), reason: reason.to_string() }
            })?;
        }
        Ok(())
    }
}

/// The patch that gives every webhook of `configuration` the bundle `ca`; empty if there is nothing to change. The patch tests
/// the names, in case the list has changed concurrently.
fn bundle_patch(configuration: &MutatingWebhookConfiguration, ca: &str) -> JsonPatch {
    let bundle = ByteString(ca.as_bytes().to_vec());
    let webhooks = configuration.webhooks.iter().flatten().enumerate();
    let outdated = webhooks.filter(|(_, webhook)| webhook.client_config.ca_bundle.as_ref() != Some(&bundle));
    let operations = outdated.flat_map(|(index, webhook)| {
        let at = |path: &[&str]| {
            PointerBuf::from_tokens(["webhooks", index.to_string().as_str()].into_iter().chain(path.iter().copied()))
        };
        let value = serde_json::to_value(&bundle).expect("bytes are a base64 string in JSON");
        [
            PatchOperation::Test(TestOperation { path: at(&["name"]), value: webhook.name.clone().into() }),
            PatchOperation::Add(AddOperation { path: at(&["clientConfig", "caBundle"]), value }),
        ]
    });
    JsonPatch(operations.collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case(json!({"clusterIP": "10.96.1.2"}), Some("10.96.1.2"))]
    #[case::headless(json!({"clusterIP": "None"}), None)]
    #[case::not_assigned_yet(json!({}), None)]
    fn the_cluster_ip_of_a_service_is_read(#[case] spec: Value, #[case] expected: Option<&str>) {
        let service: Service = serde_json::from_value(json!({ "spec": spec })).expect("a Service");
        assert_eq!(cluster_ip(&service).map(|ip| ip.to_string()).as_deref(), expected);
    }

    fn configuration(bundles: [Option<&str>; 2]) -> Value {
        let webhook = |name: &str, bundle: Option<&str>| {
            let mut webhook = json!({
                "name": name, "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            });
            if let Some(bundle) = bundle {
                webhook["clientConfig"]["caBundle"] = json!(bundle);
            }
            webhook
        };
        json!({"metadata": {}, "webhooks": [webhook("jobs.jobwarden.io", bundles[0]), webhook("pods.jobwarden.io", bundles[1])]})
    }

    // base64 of "ca" and of "old".
    const OURS: Option<&str> = Some("Y2E=");
    const OLD: Option<&str> = Some("b2xk");

    #[rstest]
    #[case::absent([None, None])]
    #[case::outdated([OLD, OLD])]
    #[case::one_missing([OURS, None])]
    #[case::up_to_date([OURS, OURS])]
    fn the_patch_gives_every_webhook_our_bundle(#[case] bundles: [Option<&str>; 2]) {
        let mut object = configuration(bundles);
        let typed = serde_json::from_value(object.clone()).expect("a configuration");
        let patch = bundle_patch(&typed, "ca");
        assert_eq!(patch.0.is_empty(), bundles == [OURS, OURS]);
        json_patch::patch(&mut object, &patch).expect("applies");
        assert_eq!(object, configuration([OURS, OURS]));
    }
}
