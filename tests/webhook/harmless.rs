//! Manifests that an injected sidecar breaks elsewhere, as the API server itself admits them.

use anyhow::{Context as _, ensure};
use http::Request;
use http_body_util::BodyExt as _;
use jobwarden_common::names::{SIDECAR_CONTAINER, label};
use jobwarden_tests::environment::Environment;
use jobwarden_tests::shared_cluster::SharedCluster;
use kube::client::Body;
use serde_json::{Value, json};

/// What the API server answers to the creation of an object as a dry run.
struct Answer {
    accepted: bool,
    /// The object, or the `Status` of a rejection.
    body: Value,
    /// As kubectl shows them.
    warnings: String,
}

/// What admission is to make of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// It gets the sidecar.
    Injected,
    /// It is labelled and keeps the sidecar that it has.
    Kept,
    /// It stays as it is.
    LeftAlone,
}

async fn dry_run(environment: &Environment, namespace: &str, object: &Value) -> anyhow::Result<Answer> {
    let path = match object["kind"].as_str() {
        Some("Job") => format!("/apis/batch/v1/namespaces/{namespace}/jobs"),
        _ => format!("/api/v1/namespaces/{namespace}/pods"),
    };
    let request = Request::post(format!("{path}?dryRun=All"))
        .header("content-type", "application/json")
        .body(Body::from(object.to_string().into_bytes()))?;
    let response = environment.client.send(request).await.context("creating an object as a dry run")?;
    let accepted = response.status().is_success();
    let warnings = response.headers().get_all("warning").iter().filter_map(|it| it.to_str().ok());
    let warnings = warnings.collect::<Vec<_>>().join("\n");
    let body = response.into_body().collect().await.context("reading the answer")?.to_bytes();
    Ok(Answer { accepted, body: serde_json::from_slice(&body).context("the answer is no JSON")?, warnings })
}

/// The warnings at the creation of an object, which has to be accepted.
pub(crate) async fn dry_run_warnings(
    environment: &Environment,
    namespace: &str,
    object: &Value,
) -> anyhow::Result<String> {
    let Answer { accepted, body, warnings } = dry_run(environment, namespace, object).await?;
    ensure!(accepted, "rejected: {body:#}");
    Ok(warnings)
}

/// A pod that opts in by `metadata`, with these members in its spec.
fn pod(metadata: &Value, spec: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "work", "labels": {label::INJECT: "true"}},
        "spec": {"restartPolicy": "Never", "containers": [container("main")]},
    });
    for (key, part) in [("metadata", metadata), ("spec", spec)] {
        for (name, value) in part.as_object().into_iter().flatten() {
            pod[key][name] = value.clone();
        }
    }
    pod
}

fn container(name: &str) -> Value {
    json!({"name": name, "image": "registry.example.com/work:1", "command": ["/bin/work"]})
}

fn sized(name: &str) -> Value {
    let mut container = container(name);
    let size = json!({"cpu": "1", "memory": "1Gi"});
    container["resources"] = json!({"requests": size, "limits": size});
    container
}

/// A sidecar from another cluster, and the volume with its token.
fn copied(audience: &str) -> Value {
    let env = [("ADDRESS", "10.9.9.9:8444"), ("NAME", "jobwarden-reaper.elsewhere.svc")]
        .map(|(name, value)| json!({"name": format!("JOBWARDEN_REAPER_{name}"), "value": value}));
    json!({
        "initContainers": [container("fetch"), {
            "name": SIDECAR_CONTAINER, "image": "mirror.example.com/jobwarden-sidecar:0", "restartPolicy": "Always", "env": env,
            "volumeMounts": [{
                "name": "jobwarden-token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true,
            }],
        }],
        "volumes": [{"name": "jobwarden-token", "projected": {"sources": [
            {"serviceAccountToken": {"audience": audience, "path": "token", "expirationSeconds": 86_400}},
        ]}}],
    })
}

pub(crate) async fn admission_makes_of_each_manifest_what_its_creator_expects(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    use Expected::{Injected, Kept, LeftAlone};
    let environment = cluster.environment().await?;
    let namespace = environment.cluster.temp_namespace("harmless", &[(label::INJECT, "enabled")]).await?;
    restrict_users(environment, namespace.name()).await?;
    let exact = json!({"cpu": "2", "memory": "2Gi"});
    let none = json!({});
    let manifests = [
        ("plain, where only users of a range are allowed", pod(&none, &none), Injected),
        (
            "pod resources that are the sum of the requests",
            pod(
                &none,
                &json!({
                    "containers": [sized("main")],
                    "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": exact},
                }),
            ),
            Injected,
        ),
        (
            "guaranteed pod resources that are the sum",
            pod(
                &none,
                &json!({
                    "containers": [sized("main"), sized("second")], "resources": {"requests": exact, "limits": exact},
                }),
            ),
            Injected,
        ),
        ("Windows by its selector", pod(&none, &json!({"nodeSelector": {"kubernetes.io/os": "windows"}})), LeftAlone),
        (
            "Windows by its options",
            pod(&none, &json!({"securityContext": {"windowsOptions": {"runAsUserName": "ContainerUser"}}})),
            LeftAlone,
        ),
        ("another architecture", pod(&none, &json!({"nodeSelector": {"kubernetes.io/arch": "arm64"}})), Injected),
        ("opted out as \"disabled\"", pod(&json!({"labels": {label::INJECT: "disabled"}}), &none), LeftAlone),
        ("opted in as \"enabled\"", pod(&json!({"labels": {label::INJECT: "enabled"}}), &none), Injected),
        (
            "opted in by an annotation",
            pod(&json!({"labels": {}, "annotations": {label::INJECT: "true"}}), &none),
            Injected,
        ),
        (
            "an absurd size of the sidecar",
            pod(&json!({"annotations": {"jobwarden.io/sidecar-cpu": "10M"}, "labels": {label::INJECT: "true"}}), &none),
            Injected,
        ),
        ("a sidecar from another cluster", pod(&none, &copied("jobwarden-reaper")), Kept),
    ];
    for (name, pod, expected) in manifests {
        let answer = dry_run(environment, namespace.name(), &pod).await.context(name)?;
        ensure!(answer.accepted, "{name}: {:#}", answer.body);
        let enrolled = answer.body["metadata"]["labels"][label::ENROLLED] == "true";
        let before = sidecars(&pod).len();
        let after = sidecars(&answer.body);
        let found = match (before, after.len(), enrolled) {
            (0, 1, true) => Injected,
            (1, 1, true) => Kept,
            (0, 0, false) => LeftAlone,
            _ => anyhow::bail!("{name}: {before} sidecars became {}: {:#}", after.len(), answer.body),
        };
        ensure!(found == expected, "{name}: {found:?}, not {expected:?}: {:#}", answer.body);
        for sidecar in after {
            let cpu = &sidecar["resources"]["requests"]["cpu"];
            ensure!(expected == Kept || *cpu == "10m", "{name}: the sidecar requests {cpu}");
            let address = &sidecar["env"][0]["value"];
            ensure!(*address != "10.9.9.9:8444", "{name}: the sidecar connects to {address}");
        }
    }
    Ok(())
}

fn sidecars(pod: &Value) -> Vec<&Value> {
    let containers = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    containers.filter(|container| container["name"] == SIDECAR_CONTAINER).collect()
}

/// Allows only users of a range to containers that name one, as `SecurityContextConstraints` do.
async fn restrict_users(environment: &Environment, namespace: &str) -> anyhow::Result<()> {
    let name = format!("users-{namespace}");
    let expression = "object.spec.containers.all(it, it.?securityContext.?runAsUser.orValue(1000650000) >= 1000650000) && \
                      object.spec.?initContainers.orValue([]).all(it, it.?securityContext.?runAsUser.orValue(1000650000) >= 1000650000)";
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]},
            ]},
            "validations": [{"expression": expression, "message": "the user is not in the range of the namespace"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {
            "policyName": name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}},
        },
    });
    for object in [policy, binding] {
        environment.cluster.apply(&object.to_string()).await.context("restricting users")?;
    }
    // The API server applies a policy a moment after its creation.
    let probe = pod(
        &json!({"labels": {}}),
        &json!({"securityContext": {}, "containers": [{
            "name": "main", "image": "i", "securityContext": {"runAsUser": 65532},
        }]}),
    );
    let restricted = async {
        while dry_run(environment, namespace, &probe).await?.accepted {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), restricted).await.context("the policy has no effect")?
}

pub(crate) async fn creators_are_warned_and_told_who_is_at_fault(cluster: &SharedCluster) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let namespace = environment.cluster.temp_namespace("warned", &[(label::INJECT, "enabled")]).await?;
    let none = json!({});
    let job = |metadata: &Value, template: Value| {
        let mut metadata = metadata.clone();
        metadata["name"] = json!("work");
        let template =
            json!({"metadata": template, "spec": {"restartPolicy": "OnFailure", "containers": [container("main")]}});
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"backoffLimit": 0, "template": template}})
    };
    let annotation = json!({"annotations": {label::INJECT: "false"}});
    let warned = [
        ("few retries", job(&none, none.clone()), "no jobwarden sidecar"),
        (
            "opted out as \"disabled\"",
            job(&json!({"labels": {label::INJECT: "disabled"}}), none.clone()),
            "\"disabled\" is taken as",
        ),
        ("opted out by an annotation", job(&none, annotation), "annotation jobwarden.io/inject"),
        ("no word", job(&json!({"labels": {label::INJECT: "perhaps"}}), none.clone()), "has no effect"),
        (
            "an absurd size",
            job(&json!({"annotations": {"jobwarden.io/sidecar-cpu": "10M"}}), none.clone()),
            "more than a sidecar may ask for",
        ),
        ("a sidecar from another cluster", pod(&none, &copied("jobwarden-reaper")), "10.9.9.9:8444"),
    ];
    for (name, object, text) in warned {
        let warnings = dry_run_warnings(environment, namespace.name(), &object).await.context(name)?;
        // A quote is escaped in the header.
        ensure!(warnings.replace('\\', "").contains(text), "{name}: the warnings are: {warnings}");
    }
    let answer = dry_run(environment, namespace.name(), &pod(&none, &copied("sts.amazonaws.com"))).await?;
    let message = answer.body["message"].as_str().unwrap_or_default();
    ensure!(!answer.accepted && message.contains("another admission webhook"), "{:#}", answer.body);
    Ok(())
}
