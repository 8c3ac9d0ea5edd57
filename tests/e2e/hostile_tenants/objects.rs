//! Objects that look like those that jobwarden reads and writes, and its own, for whoever has rights in another namespace.

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{GROUP, label, object, port};
use jobwarden_tests::install::{HOME, NAMESPACE};
use jobwarden_tests::metrics;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::config::AuthInfo;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::attacker::{Attacker, EVIL, refused};

/// The namespace of the Leases of nodes.
const NODE_LEASES: &str = "kube-node-lease";

fn outcomes_in(client: Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(GROUP, "v1alpha1", "JobOutcome");
    Api::namespaced_with(client, namespace, &ApiResource::from_gvk_with_plural(&kind, "joboutcomes"))
}

/// An outcome that says that the victim's Job has failed, to be delivered.
fn outcome(attacker: &Attacker<'_>) -> anyhow::Result<DynamicObject> {
    let target = &attacker.target;
    let data = json!({
        "kind": "failed",
        "namespace": target.namespace,
        "jobName": target.job,
        "jobUid": target.job_uid,
        "runId": target.run_id,
        "jobId": target.job_id,
        "reason": "BackoffLimitExceeded",
        "message": EVIL,
        "decidedBy": {"row": "J1", "rule": EVIL},
        "evidence": [],
        "timeline": []
    });
    let spec = json!({
        "kind": "failed",
        "namespace": target.namespace,
        "jobName": target.job,
        "jobUid": target.job_uid,
        "runId": target.run_id,
        "jobId": target.job_id,
        "reason": "BackoffLimitExceeded",
        "createdAt": "2026-01-02T03:04:05Z",
        "data": data
    });
    let name = format!("{}.final", target.job_uid);
    Ok(serde_json::from_value(json!({
        "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "JobOutcome", "metadata": {"name": name}, "spec": spec
    }))?)
}

pub(super) async fn outcomes(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let forged = outcome(attacker)?;
    let name = forged.name_any();
    let create = PostParams::default();
    let change = Patch::Merge(json!({"status": {"summary": EVIL}, "metadata": {"labels": {EVIL: EVIL}}}));
    for namespace in [NAMESPACE, attacker.namespace()] {
        let outcomes = outcomes_in(attacker.client.clone(), namespace);
        let parameters = PatchParams::default();
        for (what, answer) in [
            ("the list", outcomes.list(&ListParams::default()).await.map(drop)),
            ("one", outcomes.get(&name).await.map(drop)),
            ("a new one", outcomes.create(&create, &forged).await.map(drop)),
            ("a change", outcomes.patch(&name, &parameters, &change).await.map(drop)),
            ("a change of the status", outcomes.patch_status(&name, &parameters, &change).await.map(drop)),
            ("a deletion", outcomes.delete(&name, &DeleteParams::default()).await.map(drop)),
            (
                "a deletion of all",
                outcomes.delete_collection(&DeleteParams::default(), &ListParams::default()).await.map(drop),
            ),
        ] {
            refused(&format!("of the outcomes in {namespace} {what}"), &[403], answer)?;
        }
    }
    // Even where an administrator has granted that in the attacker's namespace, the outbox is in jobwarden's own.
    grant(attacker).await?;
    let outcomes = outcomes_in(attacker.client.clone(), attacker.namespace());
    outcomes.create(&create, &forged).await.context("creating an outcome in its own namespace")?;
    attacker.run_through().await?;
    let status = outcomes.get(&name).await?.data["status"].clone();
    ensure!(status.is_null(), "an outcome of another namespace is delivered: {status:#}");
    let delivered = attacker.environment.receiver.picked(|it| (it.event.id == name).then(|| it.event.clone()));
    ensure!(delivered.is_empty(), "the outcome that the attacker wrote was delivered: {delivered:#?}");
    Ok(())
}

/// Lets the attacker write outcomes in its own namespace.
async fn grant(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let client = &attacker.environment.client;
    let role: Role = serde_json::from_value(json!({
        "metadata": {"name": "outcomes"},
        "rules": [{"apiGroups": [GROUP], "resources": ["joboutcomes"], "verbs": ["get", "create"]}]
    }))?;
    Api::namespaced(client.clone(), attacker.namespace()).create(&PostParams::default(), &role).await?;
    let bindings = Api::<RoleBinding>::namespaced(client.clone(), attacker.namespace());
    let subjects = bindings.get("tenant").await?.subjects;
    let mut binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "outcomes"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "outcomes"}
    }))?;
    binding.subjects = subjects;
    bindings.create(&PostParams::default(), &binding).await?;
    // The authorizer learns of it by a watch.
    let outcomes = outcomes_in(attacker.client.clone(), attacker.namespace());
    super::attacker::until("the right is granted", async || match outcomes.get_opt("absent").await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(false),
        Err(error) => Err(error.into()),
    })
    .await
}

/// An Event about `kind` `name`, in the words by which a cause is found.
fn event(namespace: &str, reason: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!({
        "metadata": {"name": format!("{EVIL}-{}-{}", reason.to_lowercase(), kind.to_lowercase()), "namespace": namespace},
        "involvedObject": {"apiVersion": "v1", "kind": kind, "name": name, "uid": uid, "namespace": namespace},
        "reason": reason,
        "message": format!("Marking for deletion Pod {EVIL}"),
        "type": "Warning",
        "source": {"component": "kubelet", "host": HOME},
        "firstTimestamp": "2026-01-02T03:04:05Z",
        "lastTimestamp": "2026-01-02T03:04:05Z",
        "count": 1
    })
}

/// The cause of the victim's end is looked for in Events, because its pod is deleted.
pub(super) async fn events(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let target = &attacker.target;
    let own = attacker.namespace();
    for (reason, kind, name, uid) in [
        ("TaintManagerEviction", "Pod", &target.pod, &target.pod_uid),
        ("Preempted", "Pod", &target.pod, &target.pod_uid),
        ("SuccessfulDelete", "Job", &target.job, &target.job_uid),
    ] {
        let forged = event(own, reason, kind, name, uid);
        attacker.create::<Event>(forged).await.with_context(|| format!("writing an Event {reason}"))?;
        let create = PostParams::default();
        for (namespace, about) in
            [(target.namespace.as_str(), target.namespace.as_str()), (own, target.namespace.as_str())]
        {
            let mut elsewhere = event(about, reason, kind, name, uid);
            elsewhere["metadata"]["namespace"] = json!(namespace);
            elsewhere["metadata"]["name"] = json!(format!("{EVIL}-elsewhere"));
            let elsewhere: Event = serde_json::from_value(elsewhere)?;
            let answer = attacker.of::<Event>(namespace).create(&create, &elsewhere).await;
            // Of a foreign namespace, or in the own one about an object of a foreign one.
            refused(&format!("an Event in {namespace} about {about}"), &[403, 422], answer)?;
        }
    }
    // With a time of the newer kind, the API server lets an Event of one namespace be about an object of another.
    let mut newer = event(&target.namespace, "Preempting", "Pod", &target.pod, &target.pod_uid);
    newer["metadata"]["namespace"] = json!(own);
    newer["eventTime"] = json!("2026-01-02T03:04:05.000000Z");
    newer["action"] = json!("Preempting");
    newer["reportingComponent"] = json!("kubelet");
    newer["reportingInstance"] = json!(HOME);
    attacker.create::<Event>(newer).await.context("writing an Event about a foreign object")?;
    let of_the_node: Event = serde_json::from_value(event("default", "SystemOOM", "Node", HOME, HOME))?;
    let answer = attacker.of::<Event>("default").create(&PostParams::default(), &of_the_node).await;
    refused("an Event about a node", &[403], answer)?;
    attacker.run_through().await
}

pub(super) async fn leases(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    for name in [HOME, object::REAPER_LEASE] {
        let lease = json!({"metadata": {"name": name}, "spec": {
            "holderIdentity": EVIL,
            "leaseDurationSeconds": 3600,
            "leaseTransitions": 1_000_000,
            "renewTime": "2026-01-02T03:04:05.000000Z"
        }});
        attacker
            .create::<Lease>(lease)
            .await
            .with_context(|| format!("creating a Lease {name} in its own namespace"))?;
    }
    let taken = Patch::Merge(json!({"spec": {"holderIdentity": EVIL}}));
    for (namespace, name) in [(NAMESPACE, object::REAPER_LEASE), (NODE_LEASES, HOME)] {
        let leases = attacker.of::<Lease>(namespace);
        let answer = leases.patch(name, &PatchParams::default(), &taken).await;
        refused(&format!("a change of the Lease {namespace}/{name}"), &[403], answer)?;
        refused(&format!("the Lease {namespace}/{name}"), &[403], leases.get(name).await)?;
        let answer = leases.delete(name, &DeleteParams::default()).await.map(drop);
        refused(&format!("the deletion of the Lease {namespace}/{name}"), &[403], answer)?;
    }
    attacker.run_through().await
}

pub(super) async fn installation(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    // Of the same names in its own namespace.
    for name in [object::REAPER_ENDPOINT, object::REAPER_SERVICE, object::CONFIG] {
        let config =
            json!({"metadata": {"name": name}, "data": {"address": EVIL, "reaper.yaml": EVIL, "config.yaml": EVIL}});
        attacker.create::<ConfigMap>(config).await.with_context(|| format!("creating the ConfigMap {name}"))?;
        let change = Patch::Merge(json!({"data": {"address": EVIL}}));
        let answer = attacker.of::<ConfigMap>(NAMESPACE).patch(name, &PatchParams::default(), &change).await;
        refused(&format!("a change of the ConfigMap {name}"), &[403], answer)?;
    }
    for name in [object::CA_SECRET, object::REAPER_TLS_SECRET, object::WEBHOOK_TLS_SECRET, "jobwarden-sink"] {
        refused(&format!("the Secret {name}"), &[403], attacker.of::<Secret>(NAMESPACE).get(name).await)?;
    }
    let leader = metrics::leader(&attacker.environment.client).await?.name_any();
    let pods = attacker.of::<Pod>(NAMESPACE);
    refused("the list of jobwarden's pods", &[403], pods.list(&ListParams::default()).await)?;
    refused("the log of the leader", &[403], pods.logs(&leader, &kube::api::LogParams::default()).await)?;
    refused("the end of the leader", &[403], pods.delete(&leader, &DeleteParams::default()).await.map(drop))?;
    let forwarded = pods.portforward(&leader, &[port::API]).await;
    ensure!(forwarded.is_err(), "the port without authentication is forwarded to the attacker");
    // With a token of its own, a service account that may impersonate those of its namespace.
    let token = attacker.token("default", "https://kubernetes.default.svc.cluster.local", None).await;
    for (namespace, account) in
        [(NAMESPACE, "jobwarden-reaper"), (NAMESPACE, "jobwarden-webhook"), (object::AGENT, object::AGENT)]
    {
        let mut config = attacker.environment.cluster.client_config();
        config.auth_info = AuthInfo {
            token: Some(
                token.as_ref().map(String::as_str).map_err(|error| anyhow::anyhow!("{error}"))?.to_owned().into(),
            ),
            impersonate: Some(format!("system:serviceaccount:{namespace}:{account}")),
            ..AuthInfo::default()
        };
        let pods = Api::<Pod>::namespaced(Client::try_from(config)?, &attacker.target.namespace);
        let answer = pods.list(&ListParams::default()).await.map(drop);
        refused(&format!("the impersonation of {namespace}/{account}"), &[401, 403], answer)?;
        let accounts = attacker.of::<ServiceAccount>(namespace);
        let request = serde_json::from_value(json!({"spec": {"audiences": []}}))?;
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await.map(drop);
        refused(&format!("a token of {namespace}/{account}"), &[403], answer)?;
    }
    attacker.run_through().await
}

pub(super) async fn enrolment(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let namespaces = Api::<Namespace>::all(attacker.client.clone());
    let left = Patch::Merge(
        json!({"metadata": {"labels": {label::INJECT: null}, "annotations": {"jobwarden.io/lost-after": "1s"}}}),
    );
    for name in [attacker.target.namespace.as_str(), attacker.namespace(), NAMESPACE] {
        let answer = namespaces.patch(name, &PatchParams::default(), &left).await;
        refused(&format!("a change of the namespace {name}"), &[403], answer)?;
        let answer = namespaces.delete(name, &DeleteParams::default()).await.map(drop);
        refused(&format!("the deletion of the namespace {name}"), &[403], answer)?;
    }
    let webhooks = Api::<MutatingWebhookConfiguration>::all(attacker.client.clone());
    let answer = webhooks.delete(object::WEBHOOK_CONFIGURATION, &DeleteParams::default()).await.map(drop);
    refused("the deletion of the webhooks", &[403], answer)?;
    let own: MutatingWebhookConfiguration =
        serde_json::from_value(json!({"metadata": {"name": EVIL}, "webhooks": []}))?;
    refused("webhooks of the attacker", &[403], webhooks.create(&PostParams::default(), &own).await)?;
    attacker.run_through().await
}
