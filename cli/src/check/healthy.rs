//! A healthy installation, for tests: the objects of `manifests/install.yaml`, with what a cluster adds to them.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use jobwarden_common::{
    api::AccessHealth,
    names::{endpoint_key, object},
};
use jobwarden_webhook::certificates::samples::{self, Certificates};
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::MutatingWebhookConfiguration,
        apps::v1::Deployment,
        core::v1::{ConfigMap, Secret},
    },
    jiff::{SignedDuration, Timestamp},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    dry_run::{DryRun, Response},
    lookup::{Lookup, LookupError},
    rights::{Answer, Right},
    snapshot::{Held, Ready, Server, Snapshot},
};
use crate::objects::documents;

/// The objects of `manifests/install.yaml`.
pub(super) static OBJECTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let (objects, _) = documents::read(include_str!("../../../manifests/install.yaml")).expect("YAML");
    objects
});

const NAMESPACE: &str = "jobwarden";

/// The time of the snapshot.
pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 20_000)
}

/// Certificates made at `now`.
pub(super) fn certificates(now: SystemTime) -> Certificates {
    samples::certificates(NAMESPACE, now)
}

/// An object of `install.yaml`, with fields that the cluster adds.
fn installed<K: DeserializeOwned>(kind: &str, name: &str, more: &Value) -> K {
    let object = OBJECTS.iter().find(|it| it["kind"] == kind && it["metadata"]["name"] == name);
    let mut object = object.unwrap_or_else(|| panic!("no {kind} {name} in install.yaml")).clone();
    json_patch::merge(&mut object, more);
    serde_json::from_value(object).expect("an object of its kind")
}

fn object<K: DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).expect("an object of its kind")
}

fn pod<K: DeserializeOwned>(name: &str, part: &str, node: &str) -> K {
    object(json!({
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/name": part}},
        "spec": {"nodeName": node, "containers": []},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }))
}

fn node<K: DeserializeOwned>(name: &str) -> K {
    object(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux", "kubernetes.io/hostname": name}},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {
                "architecture": "", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
                "kubeletVersion": "v1.35.4", "machineID": "", "operatingSystem": "linux", "osImage": "", "systemUUID": "",
            },
        },
    }))
}

fn lease<K: DeserializeOwned>(name: &str, now: Timestamp) -> K {
    let renewed = format!("{:.6}", now - SignedDuration::from_secs(3));
    object(json!({
        "metadata": {"name": name},
        "spec": {"holderIdentity": "jobwarden-reaper-a_1", "leaseDurationSeconds": 15, "renewTime": renewed},
    }))
}

fn slice<K: DeserializeOwned>(service: &str) -> K {
    object(json!({
        "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.1.2"], "conditions": {"ready": true}}],
    }))
}

fn configuration(bundle: &ByteString) -> MutatingWebhookConfiguration {
    let mut configuration: MutatingWebhookConfiguration =
        installed("MutatingWebhookConfiguration", object::WEBHOOK_CONFIGURATION, &json!({}));
    for webhook in configuration.webhooks.iter_mut().flatten() {
        webhook.client_config.ca_bundle = Some(bundle.clone());
    }
    configuration
}

fn endpoint(bundle: &ByteString) -> ConfigMap {
    let bundle = String::from_utf8(bundle.0.clone()).expect("PEM");
    object(json!({
        "metadata": {"name": object::REAPER_ENDPOINT},
        "data": {endpoint_key::ADDRESS: "10.96.0.7:8444", endpoint_key::SERVER_NAME: "jobwarden-reaper.jobwarden.svc", endpoint_key::CA: bundle},
    }))
}

fn dry_run() -> DryRun {
    let pod = object(json!({
        "metadata": {"labels": {"jobwarden.io/enrolled": "true"}},
        "spec": {"containers": [], "initContainers": [{"name": "jobwarden-heartbeat", "restartPolicy": "Always"}]},
    }));
    DryRun { namespace: "work".to_owned(), response: Ok(Response::Admitted { pod, warnings: Vec::new() }) }
}

fn bundle(secret: &Secret) -> ByteString {
    secret.data.as_ref().expect("data")["ca.crt"].clone()
}

/// A healthy installation on two nodes.
pub(super) fn snapshot() -> Snapshot {
    let now = Timestamp::try_from(now()).expect("in range");
    let Certificates { authority, webhook, reaper } = certificates(now.into());
    let replicas = json!({"status": {"availableReplicas": 2}});
    let crd = json!({"status": {"conditions": [{"type": "Established", "status": "True"}]}});
    let names = [("jobwarden-webhook-a", object::WEBHOOK_SERVICE), ("jobwarden-reaper-a", object::REAPER_SERVICE)];
    let ready = names.map(|(pod, _)| Ready { pod: pod.to_owned(), answer: Ok(Ok(())) });
    Snapshot {
        namespace: NAMESPACE.to_owned(),
        only: None,
        server: Server { version: "v1.35.4".to_owned(), now, ahead: SignedDuration::ZERO },
        nodes: Ok(["node-1", "node-2"].map(node).into()),
        node_leases: Ok(["node-1", "node-2"].map(|name| lease(name, now)).into()),
        own_namespace: Ok(Some(installed("Namespace", NAMESPACE, &json!({})))),
        crd: Ok(Some(installed("CustomResourceDefinition", "joboutcomes.jobwarden.io", &crd))),
        webhook: Ok(Some(installed("Deployment", object::WEBHOOK_SERVICE, &replicas))),
        reaper: Ok(Some(installed("Deployment", object::REAPER_SERVICE, &replicas))),
        agent: Ok(Some(installed("DaemonSet", object::AGENT, &json!({})))),
        pods: Ok(names.map(|(name, part)| pod(name, part, "node-1")).into()),
        agent_pods: Ok([("a", "node-1"), ("b", "node-2")].map(|(name, node)| pod(name, object::AGENT, node)).into()),
        lease: Ok(Some(Held { lease: lease(object::REAPER_LEASE, now), renewed: false })),
        reaper_service: Ok(Some(installed(
            "Service",
            object::REAPER_SERVICE,
            &json!({"spec": {"clusterIP": "10.96.0.7"}}),
        ))),
        slices: Ok([object::WEBHOOK_SERVICE, object::REAPER_SERVICE].map(slice).into()),
        configurations: Ok(vec![configuration(&bundle(&webhook))]),
        endpoint: Ok(Some(endpoint(&bundle(&reaper)))),
        authority: Ok(Some(authority)),
        webhook_tls: Ok(Some(webhook)),
        reaper_tls: Ok(Some(reaper)),
        policy: Ok(Some(installed("ValidatingAdmissionPolicy", "jobwarden-sidecar", &json!({})))),
        binding: Ok(Some(installed("ValidatingAdmissionPolicyBinding", "jobwarden-sidecar", &json!({})))),
        config: Ok(Some(installed("ConfigMap", object::CONFIG, &json!({})))),
        permissions: Ok(Right::all().into_iter().map(|right| Answer { right, allowed: true }).collect()),
        enrolled: Ok(vec![object(json!({"metadata": {"name": "work"}}))]),
        limit_ranges: Ok(Vec::new()),
        quotas: Ok(Vec::new()),
        pending: Ok(Vec::new()),
        outcomes: Ok(Vec::new()),
        ready: ready.into(),
        reaper_answers: Ok(405),
        access: Ok(AccessHealth { tls: true, ..AccessHealth::default() }),
        dry_runs: vec![dry_run()],
    }
}

/// A cluster without jobwarden.
pub(super) fn not_installed() -> Snapshot {
    Snapshot {
        own_namespace: Ok(None),
        crd: Ok(None),
        webhook: Ok(None),
        reaper: Ok(None),
        agent: Ok(None),
        lease: Ok(None),
        reaper_service: Ok(None),
        configurations: Ok(Vec::new()),
        endpoint: Ok(None),
        authority: Ok(None),
        webhook_tls: Ok(None),
        reaper_tls: Ok(None),
        policy: Ok(None),
        binding: Ok(None),
        config: Ok(None),
        ready: Vec::new(),
        reaper_answers: Err(LookupError::Failed("services \"jobwarden-reaper\" not found".to_owned())),
        access: Err(LookupError::Failed("no reaper is the leader".to_owned())),
        dry_runs: Vec::new(),
        ..snapshot()
    }
}

/// An installation of which every lookup fails, except for the API server's version.
pub(super) fn unreadable(error: &LookupError) -> Snapshot {
    let Snapshot { namespace, server, .. } = snapshot();
    macro_rules! failing {
        ($($field:ident),*) => {
            Snapshot {
                namespace, only: None, server, ready: Vec::new(), $($field: Err(error.clone())),*,
                dry_runs: vec![DryRun { namespace: "work".to_owned(), response: Err(error.clone()) }],
            }
        };
    }
    failing!(
        nodes,
        node_leases,
        own_namespace,
        crd,
        webhook,
        reaper,
        agent,
        pods,
        agent_pods,
        lease,
        reaper_service,
        slices,
        authority,
        webhook_tls,
        reaper_tls,
        configurations,
        policy,
        binding,
        config,
        endpoint,
        permissions,
        enrolled,
        limit_ranges,
        quotas,
        pending,
        outcomes,
        reaper_answers,
        access
    )
}

/// The arguments of a Deployment, for changes.
pub(super) fn arguments(deployment: &mut Lookup<Option<Deployment>>) -> &mut Vec<String> {
    let deployment = deployment.as_mut().expect("available").as_mut().expect("exists");
    let spec = deployment.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()).expect("a spec");
    spec.containers[0].args.get_or_insert_default()
}

/// Sets another value of the flag, which ends with `=`.
pub(super) fn replace_argument(deployment: &mut Lookup<Option<Deployment>>, flag: &str, value: &str) {
    let arguments = arguments(deployment);
    arguments.retain(|argument| !argument.starts_with(flag));
    arguments.push([flag, value].concat());
}
