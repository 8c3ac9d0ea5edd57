//! Writes of the reaper that the API server refuses, as a policy engine or a narrower role would.

use anyhow::Context as _;
use jobwarden_common::names::object;
use jobwarden_testbed::Cluster;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::install::NAMESPACE;

/// The message of the policy, which the reaper has to pass on.
pub const REFUSAL: &str = "writes of jobwarden are refused for a test";

/// The verbs that the role loses.
const WRITES: [&str; 2] = ["patch", "delete"];
/// What the reaper may then only read.
const OBJECTS: [&str; 4] = ["jobs", "jobs/status", "pods", "pods/status"];
/// The annotation that keeps the role's rules until they are given back.
const KEPT: &str = "jobwarden.io/test-rules";

/// How writes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// By a `ValidatingAdmissionPolicy`, in one namespace.
    ByPolicy,
    /// By RBAC: the reaper's role loses the verbs, in all namespaces.
    ByRights,
}

/// Lets the API server refuse what the reaper writes to Jobs and pods (of this namespace, if a policy refuses it).
pub async fn refuse_writes(cluster: &Cluster, refusal: Refusal, namespace: &str) -> anyhow::Result<()> {
    match refusal {
        Refusal::ByPolicy => create_policy(cluster, namespace).await,
        Refusal::ByRights => take_rights(cluster).await,
    }
}

/// Ends [`refuse_writes`]. It is no error if nothing is refused.
pub async fn allow_writes(cluster: &Cluster, refusal: Refusal, namespace: &str) -> anyhow::Result<()> {
    match refusal {
        Refusal::ByPolicy => delete_policy(cluster, namespace).await,
        Refusal::ByRights => give_rights_back(cluster).await,
    }
}

fn policy_name(namespace: &str) -> String {
    format!("refuse-{namespace}")
}

async fn create_policy(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    let (client, name) = (cluster.client()?, policy_name(namespace));
    let user = format!("system:serviceaccount:{NAMESPACE}:{}", object::REAPER_SERVICE);
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [
                    {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["UPDATE", "DELETE"],
                     "resources": ["jobs", "jobs/status"]},
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE", "DELETE"],
                     "resources": ["pods", "pods/status"]},
                ],
            },
            "matchConditions": [{"name": "reaper", "expression": format!("request.userInfo.username == '{user}'")}],
            "validations": [{"expression": "false", "message": REFUSAL}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    });
    let apply = PatchParams::apply("jobwarden-tests").force();
    let policies = Api::<ValidatingAdmissionPolicy>::all(client.clone());
    policies.patch(&name, &apply, &Patch::Apply(policy)).await.context("creating a policy that refuses writes")?;
    let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(client);
    bindings.patch(&name, &apply, &Patch::Apply(binding)).await.context("binding the policy that refuses writes")?;
    Ok(())
}

async fn delete_policy(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    let (client, name) = (cluster.client()?, policy_name(namespace));
    let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(client.clone());
    if bindings.get_opt(&name).await.context("reading the policy's binding")?.is_some() {
        bindings.delete(&name, &DeleteParams::default()).await.context("deleting the policy's binding")?;
    }
    let policies = Api::<ValidatingAdmissionPolicy>::all(client);
    if policies.get_opt(&name).await.context("reading the policy")?.is_some() {
        policies.delete(&name, &DeleteParams::default()).await.context("deleting the policy")?;
    }
    Ok(())
}

/// The rules are kept in an annotation, in the same write, so that they are not lost if this process is.
async fn take_rights(cluster: &Cluster) -> anyhow::Result<()> {
    let roles = Api::<ClusterRole>::all(cluster.client()?);
    let role = roles.get(object::REAPER_SERVICE).await.context("reading the reaper's role")?;
    if role.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(KEPT)) {
        return Ok(());
    }
    let rules = role.rules.unwrap_or_default();
    let kept = serde_json::to_string(&rules).context("keeping the rules of the reaper's role")?;
    let patch = json!({"metadata": {"annotations": {KEPT: kept}}, "rules": without_writes(rules)});
    let patched = roles.patch(object::REAPER_SERVICE, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.context("taking rights from the reaper's role")?;
    Ok(())
}

async fn give_rights_back(cluster: &Cluster) -> anyhow::Result<()> {
    let roles = Api::<ClusterRole>::all(cluster.client()?);
    let role = roles.get(object::REAPER_SERVICE).await.context("reading the reaper's role")?;
    let Some(kept) = role.metadata.annotations.as_ref().and_then(|annotations| annotations.get(KEPT)) else {
        return Ok(());
    };
    let rules: Vec<PolicyRule> = serde_json::from_str(kept).context("reading the kept rules of the reaper's role")?;
    let patch = json!({"metadata": {"annotations": {KEPT: null}}, "rules": rules});
    let patched = roles.patch(object::REAPER_SERVICE, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.context("giving rights back to the reaper's role")?;
    Ok(())
}

/// The rules without writes to Jobs and pods. A rule that grants nothing any more is left out, because it would be invalid.
fn without_writes(rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let concerned =
        |rule: &PolicyRule| rule.resources.iter().flatten().any(|resource| OBJECTS.contains(&resource.as_str()));
    let narrow = |mut rule: PolicyRule| {
        if concerned(&rule) {
            rule.verbs.retain(|verb| !WRITES.contains(&verb.as_str()));
        }
        rule
    };
    rules.into_iter().map(narrow).filter(|rule| !rule.verbs.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_without_writes_still_reads_jobs_and_writes_events() {
        let rules = json!([
            {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["patch", "delete"]},
            {"apiGroups": ["batch"], "resources": ["jobs/status"], "verbs": ["patch"]},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
            {"nonResourceURLs": ["/openid/v1/jwks"], "verbs": ["get"]},
        ]);
        let rules: Vec<PolicyRule> = serde_json::from_value(rules).expect("the rules are valid");
        let verbs: Vec<_> = without_writes(rules).into_iter().map(|rule| rule.verbs.join(",")).collect();
        assert_eq!(verbs, ["get,list,watch", "create,patch", "get"]);
    }
}
